"""What would be sent: a run as it lies on this computer, before any of it leaves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from ...wire import Number, from_number
from ..errors import NoSuchRun
from ..journal import checkpoints, folders, remains, segments, staging
from ..model import Artifact, End, Input, Metric, Param, Position, Resume, Staged, Start, Tag
from ..screening import unscreened
from .birth import experiment_name, tags_of
from .synchronise import begun, pending


class PreviewedMetric(msgspec.Struct):
    """One series: how many points it has, and the last of them."""

    name: str
    points: int
    last: Number


class PreviewedFile(msgspec.Struct):
    """One file that would be uploaded, with its size in bytes and where its copy can be looked at."""

    name: str
    size: int
    path: str


class Preview(msgspec.Struct):
    """Everything of one run that no server has seen yet."""

    run_key: str
    name: str
    """As it will be called."""
    experiment: str
    params: dict[str, str]
    """Every one, as it would be stored."""
    tags: dict[str, str]
    metrics: list[PreviewedMetric]
    """One entry per series."""
    files: list[PreviewedFile]
    data: list[str]
    """Dataset inputs, ``NAME md5``."""
    started: int = 0
    """Milliseconds since 1970, UTC."""
    state: Literal["RUNNING", "FINISHED", "FAILED", "KILLED", "LOST"] = "RUNNING"
    """LOST: its process died without a word; the run ends KILLED."""
    offline: bool = False
    """The user asked to keep it here until told otherwise."""
    server: str = ""
    """The server that has the rest of it already; empty where none has heard of it."""
    unscreened: list[str] = []
    """Files that are still to be looked through for identifiers; what is left of them is sent after that."""
    size: int = 0
    """Bytes of all files."""
    folder: str = ""
    """Where the copies of the files are, the home folder as ``~``."""

    @property
    def points(self) -> int:
        """Points of all series."""
        return sum(metric.points for metric in self.metrics)

    def __str__(self) -> str:
        sections: list[tuple[str, list[tuple[str, str]]]] = [
            (counted(len(self.params), "param"), [(key, f" = {_short(value)}") for key, value in self.params.items()]),
            (counted(len(self.tags), "tag"), [(key, f" = {_short(value)}") for key, value in self.tags.items()]),
            (
                f"{counted(len(self.metrics), 'metric')}, {counted(self.points, 'point')}",
                [(metric.name, f": {series(metric)}") for metric in self.metrics],
            ),
            (counted(len(self.data), "dataset"), [(line, "") for line in self.data]),
            (
                f"{counted(len(self.files), 'file')}, {readable(self.size)}",
                [(file.name, f"  {readable(file.size)}") for file in self.files],
            ),
        ]
        what = f"It would send what {self.server} does not have yet" if self.server else "It would send"
        lines = [f"Run {self.name}, {self.summary()}", f"  {what}:"]
        for title, entries in sections:
            lines += [f"  {title}", *(f"    {name}{rest}" for name, rest in entries)]
        lines += [f"  {name} is looked through for identifiers before it is sent." for name in self.unscreened]
        if self.files:
            lines.append(f"  The copies of its files are in {self.folder}.")
        return "\n".join(lines)

    def summary(self) -> str:
        """Say what is known of the run beside its name."""
        begun_at = datetime.fromtimestamp(self.started / 1000).strftime("%Y-%m-%d %H:%M")
        words = {
            "RUNNING": "still open",
            "FINISHED": "finished",
            "FAILED": "failed",
            "KILLED": "stopped",
            "LOST": "lost: its process died, and it will end KILLED",
        }
        kept = ", kept here with --offline" if self.offline else ""
        return f"for the experiment {self.experiment}, begun {begun_at}, {words[self.state]}{kept}."


def preview(run: str = "") -> list[Preview]:
    """Show what would be sent of the runs that are on this computer only, oldest first; nothing is sent.

    Parameters
    ----------
    run
        Name of a run, or the beginning of its key; without it, every run that waits. One that is being sent as it
        goes does not wait.

    Raises
    ------
    NoSuchRun
        When no waiting run is called so.
    """
    found = sorted(begun(pending()), key=lambda item: item[1].time)
    chosen = [item for item in found if not run or item[1].run_name == run or item[1].run_key.startswith(run)]
    if run and not chosen:
        names = ", ".join(dict.fromkeys(start.run_name for _, start in found)) or "none"
        raise NoSuchRun(f"No run called {run} waits on this computer.", f"Those that wait: {names}.")
    shown = [_look(folder, start) for folder, start in chosen]
    return [one for one in shown if run or not one.server or one.state != "RUNNING"]


def _look(folder: Path, start: Start) -> Preview:
    known = folders.position(folder)
    name = experiment_name(start)
    shown = Preview(start.run_key, start.run_name, name, {}, {}, [], [], [], start.time, _state(folder, known))
    shown.offline = start.offline
    if known.run_id:
        shown.server = known.uri
    else:
        shown.tags = tags_of(start)
    found: dict[str, PreviewedMetric] = {}
    ended = known.ended
    files: list[Artifact | Staged] = list(known.files)
    for record, _ in segments.records(folder, known.offset, known.generation):
        if isinstance(record, Metric):
            one = found.setdefault(record.key, PreviewedMetric(record.key, 0, record.value))
            one.points += 1
            one.last = record.value
        elif isinstance(record, Param):
            shown.params[record.key] = record.value
        elif isinstance(record, Tag):
            shown.tags[record.key] = record.value
        elif isinstance(record, Artifact):
            files.append(record)
        elif isinstance(record, Input):
            shown.data.append(f"{record.name} {record.digest}")
        elif isinstance(record, End):
            shown.state, ended = "LOST" if record.lost else record.status, True
        elif isinstance(record, Resume):
            shown.state, ended = _state(folder), False
    shown.metrics = list(found.values())
    still, coming = unscreened(folder), []
    if shown.state == "LOST" and not ended:  # what the next sync adds for the process that died
        coming = checkpoints.to_come(folder)
        shown.tags |= {tag.key: tag.value for tag in remains.lost_tags(folder)}
    listed = [*(_file(folder, file) for file in (*files, *still) if staging.mark_of(folder / file.file) is None)]
    listed += [PreviewedFile(file.name, file.size, str(file.path)) for file in coming]
    # A later file of the same name takes the earlier one's place on the server.
    shown.files = list({file.name: file for file in listed}.values())
    shown.size = sum(file.size for file in shown.files)
    shown.unscreened = list(dict.fromkeys([*map(_name, still), *(file.name for file in coming)]))
    shown.folder = _from_home(_place(folder, shown.files))
    return shown


def _state(folder: Path, known: Position | None = None) -> Literal["RUNNING", "FINISHED", "FAILED", "KILLED", "LOST"]:
    """Tell how a run ended whose end the server has, and whether anybody still writes one that has no end."""
    if known is not None and known.ended:
        last = [record for record, _ in segments.read(folder) if isinstance(record, (End, Resume))][-1:]
        if last and isinstance(last[0], End):
            return last[0].status
    try:
        return "LOST" if remains.abandoned(folder) else "RUNNING"
    except OSError:  # a disk that refuses even the lock
        return "LOST"


def _file(folder: Path, file: Artifact | Staged) -> PreviewedFile:
    path = folder / file.file
    return PreviewedFile(_name(file), path.stat().st_size if path.exists() else 0, str(path))


def _name(file: Artifact | Staged) -> str:
    return f"{file.folder}/{file.name}" if file.folder else file.name


def _place(folder: Path, files: list[PreviewedFile]) -> Path:
    """Give the folder that the files lie in, or in folders of their own in it."""
    inside = [Path(file.path).parent.relative_to(folder).parts[:1] for file in files]
    tops = {folder.joinpath(*top) for top in inside}
    return tops.pop() if len(tops) == 1 else folder


def _from_home(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # elsewhere, or a user without a home
        return str(path)


def series(metric: PreviewedMetric) -> str:
    """Say how many points a series has, and the last of them."""
    return f"{counted(metric.points, 'point')}, last {from_number(metric.last):.6g}"


def counted(number: int, thing: str) -> str:
    """Write a number with its noun, e.g. ``"1,024 points"``."""
    return f"1 {thing}" if number == 1 else f"{number or 'no':{',' if number else ''}} {thing}s"


def readable(size: int) -> str:
    """Write a number of bytes for people, e.g. ``"3.1 MB"``."""
    number = float(size)
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _short(value: str) -> str:
    line = "".join(sign if sign.isprintable() else " " for sign in value)  # nothing that steers a terminal
    return line if len(line) <= 120 else f"{line[:120]}… ({len(value):,} characters)"
