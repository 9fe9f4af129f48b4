"""What identifies a person in a text: one detector per file, each giving stretches of the text.

A detector reads a :class:`~.reading.Reading` and gives :class:`~..model.Hit` objects. Most texts of a run are short and
harmless, so a look at their words and digits comes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..model import Hit, Kind
from ..policy import Policy
from ..views import View, decoded, lowered
from . import (
    addresses,
    ages,
    bare_names,
    contacts,
    dates,
    folders,
    homes,
    labelled,
    national,
    numbers,
    people,
    records,
    tables,
)
from .forenames import FORENAMES
from .known import KnownTexts
from .known_files import KnownFiles
from .labels import FIRST_WORDS
from .reading import WORD, Reading, listed

_WORDS = listed(
    "home homes users columns people media documents patient patients pt pts pat pid subject case participant smb"
    " cifs afp nfs practitioner mr mrs ms mx dr prof miss doctor professor nurse sister dame tel telephone phone"
    " mobile fax contact telefon telefoon tél téléphone teléfono telefono handy mobil gsm natel móvil cellulare herr"
    " herrn frau fräulein mme mlle madame monsieur señor señora sr sra signor signora sig dhr mevr mevrouw meneer"
)
"""Words without which most detectors find nothing."""
_MARKS = re.compile(
    r"@|~[a-z]|\^|\\\\|\(at\)|\[at\]|(?<![.\d])\d{3}[ .\-]?\d{3}[ .\-]?\d{4}(?!\d)|\+[1-9]"
    r"|(?<![\d.])\(?0\d{2,4}\)?[ \-]?\d{2}"
    r"|[^\W\d_],? ?\(?\d{1,3} ?(?:[mf]\b|y/?o\b|years? old|yrs?\b)"
    r"|\[dot\]|\(dot\)|nhs[^a-z]{0,8}\d|\d{3}(?:/|_|  )\d{3}(?:/|_|  )\d{4}|(?<!\d)0[1-9]([ .])\d\d\1\d\d"
    r"|\d\)[ ]?\d|\d(?:\.\d+){6}|\|[0-9a-f]{4}|,[ ]?[0-9a-f]{4}[\) :=]|0x[0-9a-f]|[\"'][0-9a-f]{8}[\"']"
    r"|[\"'xg]00[0-9a-f]{2}[^\w]?e?"
    r"|\b(?:scan|images?|report|referral) (?:of|for|on)\b"
)
_DATED = re.compile(
    r"\d{8}|\d{1,4}[\-/._]\d{1,2}[\-/._]\d|\d(?:st|nd|rd|th)?(?: of)?[ \-./_]{0,2}(?:jan|feb|mar|apr|may|jun|jul|aug"
    r"|sep|oct|nov|dec|mär|mai|okt|dez|fév|fev|avr|juin|jui|ao[ûu]|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott"
    r"|maa|mei|out)"
    r"|\d(?:er|\u00ba)? de |(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}[ \-./]\d"
)
_OF_A_PERSON = re.compile(
    r"dob\b|acquired|d\.o\.b|born|birth|dated|\bdate|died|passed away|admi|discharge|deceased|scanned|imaged"
    r"|acquired|examined"
    r"|operated|biops"
    r"|diagnos|transplant|rayed|hospitali|clinic|\b(?:scan|mri|ct|pet|x-?ray|mammogram|ultrasound|surgery"
    r"|appointment|imaging)\b"
    r"|geb\b|geboren|\bnée? le|nacid|\bnat[oa] il|nascid|urodzon|\bb\.|(?:^|[\s(,;])\*\d|aufgenommen|entlassen"
    r"|operiert|verstorben|décéd|\b(?:mrt|röntgen|irm|scanner|tac|rmn)\b"
    r"|lmp|(?:sub|subj|subject|pat|pt|case|pid|mrn|anon)[_\-]?[a-z]{0,6}\d"
)
_UID = re.compile(r"(?<![\w.])(?!1\.2\.840\.10008\.)[0-2](?:\.(?:0|[1-9]\d*)){6,}(?![\d])")
_SHORTEST_UID = 25


class Detectors:
    """All detectors under one policy.

    Parameters
    ----------
    policy
        Gives the hospital numbers and what is allowed.
    known
        Names and numbers that belong to the data.
    trusted
        Tells whether a value is one that stands for a case already.
    files
        The files of the data.
    """

    def __init__(
        self, policy: Policy, known: KnownTexts, trusted: Callable[[str], bool], files: KnownFiles | None = None
    ) -> None:
        self._files = files or KnownFiles({})
        self._hospital = policy.hospital_numbers
        self._allow = policy.allow
        self._known = known
        self._trusted = trusted
        self._first_words = known.first_words

    def find(self, text: str, kind: str) -> Sequence[Hit]:
        """Find what identifies somebody in `text`; hits may overlap."""
        view = decoded(text)
        if view is None and self._harmless(text):
            return ()
        hits = self._read(View(text), kind)
        if view is not None and not self._harmless(view.text):
            hits += self._read(view, kind)
        return [hit for hit in hits if not self._trusted(text[hit.start : hit.stop]) and not self._allowed(text, hit)]

    def _harmless(self, text: str) -> bool:
        """Tell cheaply that no detector can find anything."""
        low = lowered(text)
        words = WORD.findall(low)
        return (
            _WORDS.isdisjoint(words)
            and (FIRST_WORDS.isdisjoint(words) or not Reading(text).labels)
            and self._first_words.isdisjoint(words)
            and self._files.first_words.isdisjoint(words)
            and not _MARKS.search(low)
            and not (_DATED.search(low) and _OF_A_PERSON.search(low))
            and FORENAMES.isdisjoint(words)
            and not bare_names.may_hold(text)
            and not folders.may_hold(low, set(words))
            and not people.may_be_quoted(text)
            and not national.may_hold(text, low)
            and not ages.may_hold(low)
            and not any(pattern.search(text) for pattern in self._hospital)
        )

    def _read(self, view: View, kind: str) -> list[Hit]:
        reading = Reading(view.text, kind, self._trusted)
        hits = [
            *self._known.find(reading),
            *self._files.find(reading),
            *numbers.find_nhs(reading),
            *numbers.find_hospital(reading, self._hospital),
            *contacts.find_emails(reading),
            *contacts.find_phones(reading),
            *homes.find(reading),
            *people.find(reading),
            *bare_names.find(reading),
            *folders.find(reading),
            *national.find(reading),
            *ages.find(reading),
            *labelled.find(reading),
            *tables.find(reading),
            *records.find(reading),
            *dates.find(reading),
            *_uids(reading),
        ]
        hits += [*people.beside(reading, hits), *dates.beside(reading, hits), *addresses.beside(reading, hits)]
        return [hit._replace(start=start, stop=stop) for hit in hits for start, stop in (view.span(*hit[:2]),)]

    def _allowed(self, text: str, hit: Hit) -> bool:
        window = max(0, hit.start - 200)
        return any(
            found.start() <= hit.start and hit.stop <= found.end()
            for pattern in self._allow
            for found in pattern.finditer(text, window, hit.stop + 200)
        )


def _uids(reading: Reading) -> list[Hit]:
    return [
        Hit(*found.span(), Kind.DICOM, "<uid>", 6)
        for found in _UID.finditer(reading.text)
        if found.end() - found.start() >= _SHORTEST_UID
    ]
