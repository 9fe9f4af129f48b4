"""The journal keeps what training produced, whatever happens to the process or the disk."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab import wire
from mlops_lab.tracking.errors import JournalUnreadable, NoJournalPlace
from mlops_lab.tracking.journal import folders, remains, segments, writer
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import End, Metric, Param, Start, Tag


def start(key: str = "k1", **changes: object) -> Start:
    made = Start(1, key, "experiment", "name", 1_700_000_000_000, "ada", {})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def metric(step: int, value: float = 0.5) -> Metric:
    return Metric("train_loss", wire.to_number(value), step, 1_700_000_000_000 + step)


def test_records_come_back_in_order_with_nan_and_infinities(mlops_home: Path) -> None:
    written = Journal.create(start())
    values = [0.25, math.nan, math.inf, -math.inf]
    for step, value in enumerate(values):
        written.append(metric(step, value))
    written.append(Param("lr", "0.1"))
    written.append(End("FINISHED", 5))
    written.close()

    records = [record for record, _ in segments.read(written.folder)]

    assert isinstance(records[0], Start)
    assert records[0].schema_version == 1
    read = [wire.from_number(record.value) for record in records if isinstance(record, Metric)]
    assert read[0] == 0.25
    assert math.isnan(read[1])
    assert read[2:] == [math.inf, -math.inf]
    assert records[-2:] == [Param("lr", "0.1"), End("FINISHED", 5)]


def test_a_journal_is_for_its_owner_only(mlops_home: Path) -> None:
    written = Journal.create(start())
    written.close()
    assert stat.S_IMODE(written.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((written.folder / folders.JOURNAL).stat().st_mode) == 0o600


def test_every_record_survives_kill_9(mlops_home: Path) -> None:
    program = """
import os, signal
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import Metric, Start
writer = Journal.create(Start(1, "killed", "e", "n", 1, "ada", {}))
for step in range(2000):
    writer.append(Metric("train_loss", 0.5, step, step))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL

    folder = folders.journals() / "killed"
    steps = [record.step for record, _ in segments.read(folder) if isinstance(record, Metric)]
    assert steps == list(range(2000))
    assert remains.abandoned(folder)


def test_a_journal_whose_writer_lives_is_not_abandoned(mlops_home: Path) -> None:
    written = Journal.create(start())
    assert not remains.abandoned(written.folder)
    written.close()
    assert remains.abandoned(written.folder)


def test_a_forked_child_neither_writes_nor_keeps_the_journal_alive(mlops_home: Path) -> None:
    written = Journal.create(start())
    ready, tell = os.pipe()
    finish, release = os.pipe()
    child = os.fork()
    if child == 0:
        written.append(metric(99))
        os.write(tell, b"x")
        os.read(finish, 1)
        os._exit(0)
    os.read(ready, 1)
    written.append(metric(1))
    written.close()
    try:
        assert remains.abandoned(written.folder), "the child still holds the lock"
        steps = [record.step for record, _ in segments.read(written.folder) if isinstance(record, Metric)]
        assert steps == [1]
    finally:
        os.write(release, b"x")
        os.waitpid(child, 0)


def test_a_torn_line_is_passed_over_and_the_next_record_is_whole(mlops_home: Path) -> None:
    written = Journal.create(start())
    written.append(metric(1))
    written.close()
    with open(written.folder / folders.JOURNAL, "ab") as stream:
        stream.write(b'{"record":"metric","key":"train_')

    before = [record for record, _ in segments.read(written.folder)]
    assert before[-1] == metric(1)
    assert remains.append_for_the_dead(written.folder, [Tag("a", "b")])
    after = [record for record, _ in segments.read(written.folder)]
    assert after == [*before, Tag("a", "b")]


def test_a_line_that_is_still_being_written_is_left_for_later(mlops_home: Path) -> None:
    written = Journal.create(start())
    written.close()
    path = written.folder / folders.JOURNAL
    *_, (_, offset) = segments.read(written.folder)
    with open(path, "ab") as stream:
        stream.write(b'{"record":"tag","key":"a",')
    assert list(segments.read(written.folder, offset)) == []
    with open(path, "ab") as stream:
        stream.write(b'"value":"b"}\n')
    assert [record for record, _ in segments.read(written.folder, offset)] == [Tag("a", "b")]


@contextlib.contextmanager
def full_disk(written: Journal, room: int) -> Iterator[None]:
    """A limit on the size of files makes the kernel refuse a write, as a full disk does."""
    size = (written.folder / folders.JOURNAL).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_records_wait_in_memory_while_the_disk_is_full_and_are_written_in_order_once_it_is_not(
    mlops_home: Path,
) -> None:
    written = Journal.create(start())
    with full_disk(written, 250):
        for step in range(10):
            written.append(metric(step))
        (said,) = written.troubles()
        assert "in memory" in said
        written.look_after()
        assert 0 < written.written < 10
    written.append(metric(10))
    written.look_after()
    assert written.troubles() == []
    written.append(metric(11))
    written.close()

    steps = [record.step for record, _ in segments.read(written.folder) if isinstance(record, Metric)]
    assert steps == list(range(12))
    assert written.lost == 0
    assert written.written == 13


def test_a_disk_that_stays_full_costs_records_which_are_counted_and_raises_nothing(
    mlops_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BACKLOG", 2000)
    written = Journal.create(start())
    with full_disk(written, 250):
        for step in range(100):
            written.append(metric(step))
        assert not written.append_last(End("FINISHED", 5))
        written.close()

    steps = [record.step for record, _ in segments.read(written.folder) if isinstance(record, Metric)]
    assert 1 < len(steps) < 100
    assert steps == list(range(len(steps)))
    assert len(steps) + written.lost == 100
    assert "records lost" in written.troubles()[0]


def test_the_end_and_what_decides_over_a_curve_are_written_in_the_room_kept_for_them(
    mlops_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Journal.create(start())
    # The disk is full from now on, but for what the reserve gives back.
    taken = os.write
    left = [300]

    def write(fd: int, data: bytes) -> int:
        if left[0] < len(data) and not (written.folder / folders.RESERVE).exists():
            left[0] += 1 << 16
        count = min(left[0], len(data))
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= count
        return taken(fd, data[:count])

    monkeypatch.setattr(os, "write", write)
    for step in range(2000):
        written.append(metric(step, value=math.sin(step / 300)))
    assert written.append_last(End("FINISHED", 5))
    written.close()
    monkeypatch.undo()

    records = [record for record, _ in segments.read(written.folder)]
    points = [record for record in records if isinstance(record, Metric)]
    assert records[-1] == End("FINISHED", 5)
    assert records[-2] == Tag(writer.LOST_RECORDS, str(2000 - len(points)))
    assert points[-1].step == 1999
    assert max(wire.from_number(point.value) for point in points) == math.sin(471 / 300)


def test_a_journal_of_a_newer_version_is_not_guessed_at(mlops_home: Path) -> None:
    written = Journal.create(start(schema_version=999))
    written.close()
    with pytest.raises(JournalUnreadable, match="newer"):
        list(segments.read(written.folder))


def test_no_place_for_journals_is_said_before_training(mlops_home: Path) -> None:
    mlops_home.mkdir()
    (mlops_home / "journals").write_text("a file stands where the folder should be")
    with pytest.raises(NoJournalPlace, match="cannot be written"):
        Journal.create(start())
