"""The names under which identifying values are kept: DICOM's keywords, and what people call the same things.

A keyword counts as DICOM spells it (``InstitutionName``). What plainly speaks of a person counts however it is spelled:
``patient_name``, ``Patient's name``, ``PATIENT-NAME``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from ..model import Kind
from .dicom_attributes import ATTRIBUTES, BY_TAG, Nature
from .reading import Reading, Word


class Label(NamedTuple):
    """What a value is called, and therefore is."""

    nature: Nature
    exact: bool
    """DICOM's own spelling: then the value is taken for what the keyword says, whatever it looks like."""
    kind: Kind = Kind.DICOM


class Labelled(NamedTuple):
    """A label where it stands in a text."""

    start: int
    stop: int
    label: Label


LONGEST = 5
"""Words in a label."""

_UNLIKELY = {
    "Date",
    "Time",
    "DateTime",
    "UID",
    "MAC",
    "Arbitrary",
    "LabelText",
    "TextString",
    "Impressions",
    "Occupation",
}
_UNLIKELY |= {"DeviceDescription", "EntityDescription", "EntityLabel", "EntityName", "EntityLongLabel", "TopicTitle"}
_UNLIKELY |= {"TopicAuthor", "TopicKeywords", "TopicSubject", "Allergies", "ReviewDate", "ReviewTime", "FrameComments"}
"""Keywords that are plain words elsewhere; their tags count all the same."""

_NAMES = """
patient name, patients name, name of patient, patient full name, pt name, patient first name, patient last name,
patient surname, patient forename, patient family name, patient given name, first name, last name, surname, forename,
family name, given name, maiden name, mothers maiden name, patient birth name, patients birth name, other patient
names, next of kin, referring physician, referring physician name, referring physicians name, referring doctor,
performing physician, performing physician name, performing physicians name, attending physician, requesting
physician, requesting physicians name, reading physician, physician name, name of physicians reading study, physicians
of record, consultant name, doctor name, operators name, operator name, reported by, reporting radiologist,
responsible person, patient names, subject name, patients mothers birth name, patient mothers birth name, pat name,
subject names, participant name, name of the patient, name of subject, name of participant,
patientenname, patienten name, name des patienten, name der patientin, vorname, nachname, familienname, geburtsname,
nom du patient, nom patient, nom de famille, nom de naissance, prénom, nombre del paciente, nombre paciente, nombre y
apellidos, apellidos, apellido, cognome, nome paziente, nome del paziente, nome do paciente, naam patiënt, patiëntnaam,
voornaam, achternaam, nazwisko, imię i nazwisko, efternavn, fornavn, efternamn, förnamn, sukunimi, etunimi
"""
_IDS = """
patient id, patients id, patient ids, patient identifier, patient number, patient no, patient nr, pt id, pat id, mrn,
other patient ids, medical record number, medical record no, medical record, hospital number, hospital no, hospital
id, hosp no, hosp number, accession number, accession no, accession id, accession, admission id, ssn, social security
number, national insurance number, passport number, health card number, insurance number, medicare number, patient
mrn, issuer of patient id, chart number, mrns, medical record id, emr id, ehr id, pas number, ur number, urn number,
unit record number, visit number, visit id, encounter id, encounter number, episode number, insurance no, insurance id,
member id, beneficiary id, medicare beneficiary identifier, health plan number, social security no, nino, ni number,
patientenid, patienten id, patientennummer, patienten nummer, patienten nr, patnr, pat nr, fallnummer, fall nr,
aufnahmenummer, versichertennummer, versicherten nr, krankenversichertennummer, kvnr, sozialversicherungsnummer, svnr,
sv nr, rentenversicherungsnummer, ahv nummer, ahv nr, numéro patient, numéro de patient, n patient, n dossier, numéro de
dossier, numéro de sécurité sociale, identifiant patient, numéro de historia clínica, número de historia clínica,
historia clínica, n h c, nhc, dni, nie, nif, número de paciente, id paciente, número de la seguridad social, codice
fiscale, tessera sanitaria, numero paziente, bsn, burgerservicenummer, patiëntnummer, personnummer, cpr, cpr nr, cpr
nummer, fødselsnummer, henkilötunnus, hetu, pesel, cpf, rijksregisternummer, ppsn
"""
_NHS = "nhs number, nhs no, nhs id, nhs num, nhs, nhsno, chi number, chi no, nhs numbers"
_DATES = """
dob, d o b, date of birth, birth date, birthdate, birthday, birth day, patient birth date, patients birth date,
patient dob, birth time, patient birth time, date of scan, scan date, scan dates, exam date, examination date, date of
exam, date of examination, date of study, study date, study time, acquisition date, acquisition time, acquisition date
time, series date, series time, content date, content time, admission date, admitted, date admitted, date of
admission, admitting date, admit date, discharge date, date of discharge, date discharged, date of death, death date,
visit date, date of visit, surgery date, date of surgery, operation date, date of operation, diagnosis date, date of
diagnosis, biopsy date, date of biopsy, treatment date, date of treatment, procedure date, date of procedure, imaging
date, date of imaging, follow up date, followup date, appointment date, date of referral, referral date, mri date, ct
date, date of injury, date of onset, onset date, birth dates, patient birthday, deceased date, geburtsdatum,
geburtstag, geb datum, geb dat, geb, date de naissance, né le, née le, fecha de nacimiento, data di nascita, data de
nascimento, geboortedatum, födelsedatum, fødselsdato, data urodzenia, untersuchungsdatum, aufnahmedatum,
entlassungsdatum, sterbedatum, op datum, date d examen, date de l examen, fecha de examen, fecha de ingreso, data
esame, onderzoeksdatum
"""
_UIDS = """
study instance uid, series instance uid, sop instance uid, frame of reference uid, study uid, series uid, instance uid
"""
_TEXTS = """
patient address, patients address, home address, postcode, post code, postal code, zip code, institution name,
institution address, hospital name, patient comments, patient phone, patient phone number, patient telephone, patient
telephone number, patient telephone numbers, patients telephone numbers, patient email, additional patient history,
anschrift, wohnort, plz,
postleitzahl, adresse du patient, dirección, domicilio, indirizzo, woonplaats
"""
_PERSONS = """
patient, pat, radiologist, physician, surgeon, clinician, consultant,
subject, participant, proband, patientin, paziente, paciente, patiënt
"""


def _squashed(names: str) -> list[str]:
    return ["".join(name.split()) for name in names.split(",")]


def _plain(name: str) -> str:
    """Give a name as it is typed where the keyboard has no accents."""
    return "".join(part for part in unicodedata.normalize("NFKD", name) if not unicodedata.combining(part))


def _table() -> dict[str, Label]:
    table: dict[str, Label] = {}
    for names, label in (
        (_NAMES, Label("name", False)),
        (_IDS, Label("id", False)),
        (_NHS, Label("id", False, Kind.NHS_NUMBER)),
        (_DATES, Label("date", False)),
        (_UIDS, Label("uid", False)),
        (_TEXTS, Label("text", False)),
        (_PERSONS, Label("person", False)),
    ):
        table.update(dict.fromkeys((spelled for name in _squashed(names) for spelled in (name, _plain(name))), label))
    return table


ANY_SPELLING: dict[str, Label] = _table()
"""By their letters alone, small and without what separates the words."""
KEYWORDS: dict[str, Label] = {
    attribute.keyword: Label(attribute.nature, True) for attribute in ATTRIBUTES if attribute.keyword not in _UNLIKELY
}
_STARTS = frozenset(
    spelled
    for names in (_NAMES, _IDS, _NHS, _DATES, _UIDS, _TEXTS, _PERSONS)
    for name in names.replace("\n", " ").split(",")
    if name.strip()
    for spelled in (name.split()[0], _plain(name.split()[0]))
)
FIRST_WORDS = _STARTS | frozenset(ANY_SPELLING) | frozenset(keyword.lower() for keyword in KEYWORDS)
"""Words, in small letters, with which a label may begin."""
_WHOLE_TAG = re.compile(r"[(\[]?(?:0x|x)?([0-9a-fA-F]{4})(?:\||, ?|_|)(?:0x)?([0-9a-fA-F]{4})[)\]]?")
_TAG = re.compile(
    r"(?<![0-9a-z])(?P<open>[(\[<\"'][ ]?)?(?P<hex>0x|x|g)?(?P<group>[0-9a-f]{4})(?P<between>\||, ?|_|:|-|e|)(?:0x)?"
    r"(?P<element>[0-9a-f]{4})(?P<close>[ ]?[)\]>\"'])?(?![0-9a-z])"
)
_SHORT_TAG = re.compile(r"0x([0-9a-f]{1,4}), ?0x([0-9a-f]{1,4})(?![0-9a-z])")
_DICOM_JSON = re.compile(r"[\"']\s{0,8}:\s{0,8}\{\s{0,8}[\"'](?:vr|value|bulkdatauri|inlinebinary)[\"']")
_ASSIGNED = re.compile(r"[ ]?[:=]")
_BETWEEN = frozenset({"", " ", "_", "-", ".", "'", "\u2019", ". ", " - ", ".-", "\u00b0 ", "\u00b0", "\u00ba "})


_OURS = re.compile(r".{0,3}(?:<|&lt;)(?:nhs|hospital|national) number(?: \d+)?(?:>|&gt;)", re.DOTALL)
"""What the guard itself writes has words of a label in it."""


def find_labels(reading: Reading) -> list[Labelled]:
    """Find the labels in a text, the longest where several begin at one word."""
    found: list[Labelled] = []
    words, text = reading.words, reading.text
    reached = 0
    for number, word in enumerate(words):
        if word.low in FIRST_WORDS and word.start >= reached:
            label = _longest(text, words, number)
            if label is not None and not _OURS.match(text, max(0, label.start - 4)):
                found.append(label)
                reached = label.stop
    return found


def is_private(group: str) -> bool:
    """Tell whether four hexadecimal digits are a group that a manufacturer fills."""
    return int(group, 16) % 2 == 1 and int(group, 16) > 8


def find_tags(reading: Reading) -> Iterator[Labelled]:
    """Find DICOM tags in their usual spellings: ``0010|0010``, ``(0010,0010)``, ``"00100010"``, ``0x0010, 0x0010``."""
    low = reading.low
    for found in _TAG.finditer(low):
        attribute = BY_TAG.get(found["group"] + found["element"])
        between, opened, shut = found["between"], found["open"], found["close"]
        quoted = opened is not None and opened[0] in "\"'" and shut
        assigned = attribute is not None and _ASSIGNED.match(low, found.end("element"))
        sure = assigned or between == "|" or (between.startswith(",") and opened is not None) or found["hex"] or quoted
        if not sure or (between == "e" and found["hex"] != "g"):
            continue
        closed = shut is not None and shut.strip() in ")]>"
        stop = found.end("close") if closed else found.end("element")
        if attribute is not None:
            yield Labelled(found.start(), stop, Label(attribute.nature, True))
        elif is_private(found["group"]) and (between in ("|", ",", ", ") or _DICOM_JSON.match(low, stop)):
            # What a manufacturer keeps in a private attribute may be anything; the profile removes them all.
            yield Labelled(found.start(), stop, Label("text", True))
    for found in _SHORT_TAG.finditer(low):
        attribute = BY_TAG.get(f"{int(found[1], 16):04x}{int(found[2], 16):04x}")
        if attribute is not None:
            yield Labelled(*found.span(), Label(attribute.nature, True))


def label_of(name: str) -> Label | None:
    """Give the label that a whole `name` (of a param, of a column) ends with: ``meta.PatientName``, ``0010|0010``."""
    tag = _WHOLE_TAG.fullmatch(name.strip())
    if tag is not None:
        attribute = BY_TAG.get((tag[1] + tag[2]).lower())
        private = is_private(tag[1]) and "|" in name
        return Label(attribute.nature, True) if attribute else Label("text", True) if private else None
    reading = Reading(name)
    for found in find_labels(reading):
        if not any(letter.isalnum() for letter in name[found.stop :]):
            return found.label
    return None


def _longest(text: str, words: list[Word], number: int) -> Labelled | None:
    first = words[number]
    best = KEYWORDS.get(text[first.start : first.stop]) or ANY_SPELLING.get(first.low)
    stop = first.stop
    joined = first.low
    end = first.stop
    for word in words[number + 1 : number + 1 + LONGEST + 1]:
        if word.start - end > 2 or text[end : word.start] not in _BETWEEN:
            break
        joined += word.low
        end = word.stop
        label = ANY_SPELLING.get(joined)
        if label is not None:
            best, stop = label, end
    return Labelled(first.start, stop, best) if best is not None else None
