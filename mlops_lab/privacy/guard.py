"""The guard that stands before the journal and before everything that leaves the machine.

It finds secrets and what identifies a patient in names, texts, code and files, and does what the project's policy says.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import cells, secrets
from .detectors import Detectors, ages
from .detectors.known import KnownTexts
from .detectors.known_files import KnownFiles
from .detectors.labels import label_of
from .detectors.reading import Reading
from .detectors.values import is_identifying, placeholder
from .edits import applied, merged
from .model import Finding, Guarded, Hit, Kind, Known
from .policy import Policy
from .styles import Style, styled
from .words import finding

if TYPE_CHECKING:
    from .files import Verdict

_CACHED_NAMES = 8192
_LOOKS = 12
_LOOKED_AT_AGAIN = 100_000
"""Characters of a text that is looked at again when something in it was replaced."""


class Guard:
    """Screens what a run records.

    Parameters
    ----------
    policy
        The project's, see :func:`~.policy.read_policy`; without one, the usual.
    known
        Names and numbers that are known to belong to the data.
    """

    def __init__(self, policy: Policy | None = None, known: Known | None = None) -> None:
        self.policy = policy or Policy()
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._numbers: dict[tuple[Kind, str], str] = {}
        self._issued: set[str] = set()
        self._known = Known(self.policy.studies)
        self._index()
        self.learn(known or Known())

    def learn(self, known: Known) -> None:
        """Add what has been collected since, e.g. when a dataset version was verified."""
        with self._lock:
            joined = self._known + known
            # The study ids of the policy are the project's own choice: they stand before any hash.
            self._known = Known({**joined.cases, **self.policy.studies}, joined.names, joined.ids, joined.files)
            self._index()

    def _index(self) -> None:
        index = KnownTexts(self._known)
        self._trusted = index.replacements | frozenset(self._known.files.values())
        self._detectors = Detectors(self.policy, index, self.is_trusted, KnownFiles(self._known.files))
        self.name = lru_cache(_CACHED_NAMES)(self._name)
        """Screen the name of a metric, param, tag or artifact; see :meth:`text`.

        What is replaced stays a name that MLflow and file systems take, and different persons keep different names.
        """

    def text(self, text: str, kind: str = "text", where: str = "", name: str = "") -> Guarded:
        """Screen a text.

        Parameters
        ----------
        text
            What is to be recorded.
        kind
            What it is: ``param``, ``tag``, ``text``, ``traceback``, ``output``, ``diff``, ``url``, ``source``,
            ``json``, ``xml``. It settles how placeholders are written and how code in it is read.
        where
            What to call the place in findings; without it, `kind`.
        name
            The name under which it is recorded: under ``PatientID`` any value identifies, under ``password`` any text
            is a secret.

        Returns
        -------
        Guarded
            The text as it may be recorded. What was harmless is the same object.
        """
        if kind == "source":
            return self.source(text, where)
        place = self.name(where).text if where else kind
        style = Style.of(kind, text)
        masked = secrets.MASK if name and _is_secret(name, text) else self.masked(text)
        found = [finding(Kind.SECRET, place, self.policy.action(Kind.SECRET))] if masked != text else []
        if found and found[0].action == "block":
            return Guarded("", tuple(found), True)
        text = masked if not found or found[0].action == "replace" else text
        hits = list(self._detectors.find(text, kind))
        if name:
            hits += self._under(name, text, kind)
        return self._done(text, hits, kind, place, style, found) if hits else Guarded(text, tuple(found))

    def _name(self, name: str) -> Guarded:
        hits = self._detectors.find(name, "name")
        return self._done(name, hits, "name", "a name", Style.NAME, []) if hits else Guarded(name)

    def source(self, code: str, where: str = "") -> Guarded:
        """Screen the code of a cell; where it parsed it parses afterwards, and its lines stay where they are."""
        place = self.name(where).text if where else "the code"
        masked, values = secrets.mask_source(code)
        found = []
        if masked != code:
            action = self.policy.action(Kind.SECRET)
            found.append(finding(Kind.SECRET, place, action, max(1, len(values))))
            if action == "block":
                return Guarded("", tuple(found), True)
            if action == "replace":
                with self._lock:
                    self._secrets |= {value for value in values if len(value) >= secrets.SHORTEST}
                code = masked
        hits = merged(self._detectors.find(code, "source"))
        kept = [hit for hit in hits if self.policy.action(hit.kind) == "replace"]
        changed, counts = cells.rewritten(code, kept) if kept else (code, Counter())
        counts.update(hit.kind for hit in hits if hit not in kept)
        return self._told(changed, counts, place, found)

    def file(self, path: str | Path, where: str = "", pause: Callable[[], None] | None = None) -> Verdict:
        """Screen a file by what is in it, whatever it is called.

        Parameters
        ----------
        path
            A file that nobody writes to meanwhile: the journal's own copy.
        where
            What to call it in findings; without it, the screened name of the file.
        pause
            Called after every piece of work, some milliseconds each: whoever looks through files beside a training
            rests there, for the work is Python's and holds its lock.

        Returns
        -------
        Verdict
            Recorded as it is, recorded as a changed copy, or blocked with the reason.
        """
        from .files import examine

        return examine(self, Path(path), where or self.name(Path(path).name).text, pause)

    def masks(self, values: Iterable[str]) -> None:
        """Remember secrets, to be masked in every text from now on."""
        with self._lock:
            self._secrets |= {value for value in values if len(value) >= secrets.SHORTEST}

    def hits(self, text: str, kind: str) -> Sequence[Hit]:
        """Give what identifies somebody in `text`, as it was found: hits may overlap."""
        return self._detectors.find(text, kind)

    def masked(self, text: str) -> str:
        """Give `text` with its secrets masked."""
        if self._secrets or secrets.may_hold_secret(text):
            return secrets.mask_text(text, self._secrets)
        return text

    def _under(self, name: str, text: str, kind: str) -> list[Hit]:
        if old := list(ages.under(name, text)):
            return old
        label = label_of(name)
        value = text.strip()
        if label is None or not value or not is_identifying(value, label, True, Reading(text, kind, self.is_trusted)):
            return []
        start = text.index(value)
        return [Hit(start, start + len(value), label.kind, placeholder(label, value), 6)]

    def is_trusted(self, value: str) -> bool:
        """Tell whether `value` is what the guard puts in the place of a case."""
        return value in self._trusted or value in self._issued

    def _done(
        self, text: str, hits: Sequence[Hit], kind: str, place: str, style: Style, found: list[Finding]
    ) -> Guarded:
        counts: Counter[Kind] = Counter()
        for number in range(_LOOKS if len(text) < _LOOKED_AT_AGAIN else 1):
            if number:
                # With one identifier gone, what stood beside it may be read otherwise.
                hits = self._detectors.find(text, kind)
            hits = merged(hits)
            kept = [hit for hit in hits if self.policy.action(hit.kind) == "replace"]
            counts.update(hit.kind for hit in (kept if number else hits))
            if not kept or "block" in {self.policy.action(found) for found in counts}:
                break
            if style is Style.NAME:
                kept = [hit._replace(replacement=self._plain(hit, text)) for hit in kept]
            text = applied(text, styled(text, kept, style))
        return self._told(text, counts, place, found)

    def _told(self, text: str, counts: Mapping[Kind, int], place: str, found: list[Finding]) -> Guarded:
        actions = {kind: self.policy.action(kind) for kind in counts}
        findings = (*found, *(finding(kind, place, actions[kind], count) for kind, count in counts.items()))
        return Guarded("", findings, True) if "block" in actions.values() else Guarded(text, findings)

    def _plain(self, hit: Hit, text: str) -> str:
        """Give the replacement without signs that names may not have, numbered so that two persons stay two."""
        if hit.replacement[:1] not in "<~" or self.is_trusted(hit.replacement):
            return hit.replacement
        word = hit.replacement.strip("<>").replace(" ", "-").replace("~", "home")
        key = hit.kind, text[hit.start : hit.stop].casefold()
        with self._lock:
            plain = self._numbers.setdefault(key, f"{word}-{len(self._numbers) + 1}")
            self._issued.add(plain)
        return plain


def _is_secret(name: str, text: str) -> bool:
    """Tell whether a param or tag of this name is a password; a number of tokens is none."""
    if not text or not secrets.is_secret_name(name) or secrets.is_version(text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
