"""Texts with an identifier planted in each: who or what, times how it is spelled, times where it stands."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from .people import DATES, NAMES, NUMBERS, Person, person


class Planted(NamedTuple):
    """One text that must not survive as it is."""

    kind: str
    text: str
    secret: str
    """What may not be found in what is recorded."""


def _listed(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(";") if item.strip()]


_NAME_LABELS = _listed(
    """
    PatientName; Patient Name; Patient's Name; patient_name; PATIENT_NAME; patientName; patient-name;
    OtherPatientNames; ReferringPhysicianName; referring_physician; OperatorsName; PerformingPhysicianName;
    PatientBirthName; 0010|0010; 0008|0090; (0010,0010); Referring Physician's Name; PatientMotherBirthName;
    """
)
_ID_LABELS = _listed(
    """
    PatientID; Patient ID; patient_id; patientId; MRN; mrn; hospital number; hospital_no;
    Medical Record Number; AccessionNumber; accession_number; 0010|0020; 0008|0050; (0010,0020);
    OtherPatientIDs;
    """
)
_DATE_LABELS = _listed(
    """
    PatientBirthDate; Date of birth; date_of_birth; DOB; dob; birth_date; StudyDate; study_date; Scan date;
    scan_date; AcquisitionDate; 0010|0030; 0008|0020; (0010,0030); SeriesDate; admission_date;
    Date of admission; discharge date; ContentDate;
    """
)
_PAIRS = (
    ("param", "{label}={value}"),
    ("param", "{label}: {value}"),
    ("text", "{label} = {value}\n"),
    ("text", "loaded case 3\n{label}: {value}\ndice 0.91\n"),
    ("text", '{label}: "{value}"'),
    ("tag", '{{"{label}": "{value}", "Modality": "MR"}}'),
    ("text", "{{'{label}': '{value}', 'spacing': [1.0, 1.0, 2.5]}}"),
    ("json", '{{"meta": {{"{label}": ["{value}"]}}, "dice": 0.8}}'),
    ("traceback", "KeyError: 'no label for {{\"{label}\": \"{value}\"}}'"),
    ("text", "{label}\tmodality\n{value}\tMR\n"),
    ("text", "index,{label},dice\n0,\"{value}\",0.81\n1,\"{value}\",0.82\n"),
    ("text", "| {label} | dice |\n|---|---|\n| {value} | 0.8 |\n"),
    ("xml", "<tr><td>{label}</td><td>{value}</td></tr>"),
    ("text", "[header]\n{label} := {value}\n"),
)  # fmt: skip
_NAME_PLACES = (
    ("param", "{value}"),
    ("tag", "case {value}"),
    ("text", "Segmented {value} in 3.2 s."),
    ("traceback", "FileNotFoundError: [Errno 2] No such file or directory: '/data/raw/{value}/t1.nii.gz'"),
    ("output", "\x1b[32mINFO\x1b[0m saved /out/{value}_seg.nii.gz"),
    ("text", "image,dice\n/data/{value}.nii.gz,0.91\n"),
    ("json", '{{"image": "/data/{value}/image.nii.gz", "dice": 0.91}}'),
    ("url", "https://pacs.example.org/cases?name={value}&view=axial"),
    ("diff", "+  - {value}\n-  - none\n"),
    ("name", "dice/{value}"),
    ("name", "{value}_seg.nii.gz"),
)
_NUMBER_PLACES = (
    ("param", "{value}"),
    ("text", "The patient with number {value} was left out."),
    ("traceback", "ValueError: empty label in /data/{value}/label.nii.gz"),
    ("text", "id,dice\n{value},0.91\n"),
    ("json", '{{"id": "{value}", "dice": 0.9}}'),
    ("output", "case {value}: dice 0.91, hd95 3.2"),
    ("diff", "+case_{value}.nii.gz\n"),
    ("name", "dice_{value}"),
    ("text", "case\u00a0{value}"),
)
_DATE_PLACES = (
    ("text", "Patient born {value}."),
    ("text", "DOB {value}"),
    ("text", "She was admitted on {value} with headache."),
    ("text", "MRI of the brain dated {value} shows no lesion."),
    ("output", "scanned on {value}"),
    ("text", "date of birth {value}, male"),
    ("text", "({value}, DOB)"),
    ("text", "discharged {value}"),
    ("tag", "Patient 12 seen in clinic on {value}"),
)
_CONTACTS = (
    ("email", "{g}.{f}@nhs.net"),
    ("email", "{g}{f}@gmail.com"),
    ("email", "{f}_{g}+trial@radiology.hospital.example"),
    ("email", "{g}@uclh.nhs.uk"),
    ("phone", "+44 20 7946 0{n:03}"),
    ("phone", "+44 (0)161 496 0{n:03}"),
    ("phone", "+447700900{n:03}"),
    ("phone", "07700 900{n:03}"),
    ("phone", "020 7946 0{n:03}"),
    ("phone", "(0161) 496 0{n:03}"),
    ("phone", "01632 960{n:03}"),
    ("phone", "(202) 555-0{n:03}"),
    ("phone", "202-555-0{n:03}"),
    ("phone", "+1-202-555-0{n:03}"),
    ("phone", "+49 30 901820{n:03}"),
    ("phone", "+33 1 42 68 5{n:03}"),
    ("path", "/home/{g}{f}/data"),
    ("path", "/Users/{g}.{f}/Documents"),
    ("path", "C:\\Users\\{g}{f}\\scans"),
    ("path", "C:\\\\Users\\\\{g}{f}\\\\scans"),
    ("path", "C:/Users/{g}_{f}/scans"),
    ("path", "/mnt/c/Users/{g}{f}/scans"),
    ("path", "/nfs/home/{g}{f}/scans"),
    ("path", "/media/{g}{f}/usb/scans"),
    ("path", "file:///home/{g}{f}/scans"),
    ("path", "\\\\{f}-nas\\{g}{f}$\\scans"),
)
_CONTACT_PLACES = (
    ("param", "{value}"),
    ("text", "see {value} for details"),
    ("text", "mail or call {value}, any time."),
    ("traceback", '  File "{value}/train.py", line 3, in <module>'),
    ("json", '{{"contact": "{value}"}}'),
    ("text", "a,b\n1,{value}\n"),
    ("output", "[{value}]"),
    ("diff", "+root = '{value}'\n"),
)


def planted(seed: int) -> Iterator[Planted]:
    """Compose the corpus of one seed; every name, number and date is met in every kind of place over a few seeds."""
    source = random.Random(seed)
    yield from _labelled(source)
    yield from _bare(source)
    yield from _dates(source)
    yield from _contacts(source)
    yield from _titles(source)


def known_person(seed: int) -> Person:
    """Give the one person whose name the guard is told in advance."""
    return person(random.Random(f"known {seed}"))


def _labelled(source: random.Random) -> Iterator[Planted]:
    for labels, spell in ((_NAME_LABELS, _a_name), (_ID_LABELS, _an_id), (_DATE_LABELS, _a_date)):
        for label in labels:
            for kind, form in source.sample(_PAIRS, 6):
                value = spell(source)
                if "&" in value or (form.startswith(("{label}=", "{label}:")) and ", " in value and "DATE" in label):
                    continue
                yield Planted(kind, form.format(label=label, value=value), value)


def _a_name(source: random.Random) -> str:
    return source.choice(list(NAMES.values()))(person(source))


def _an_id(source: random.Random) -> str:
    number = source.randrange(10**5, 10**8)
    return source.choice((f"{number}", f"H{number}", f"{number}-A", f"RTD/{number}", f"AB{number}X"))


def _a_date(source: random.Random) -> str:
    return source.choice(list(DATES.values()))(person(source).born)


def _bare(source: random.Random) -> Iterator[Planted]:
    for spell in ("caret", "caret, mixed", "caret, full"):
        for kind, form in _NAME_PLACES:
            value = NAMES[spell](person(source))
            yield Planted(kind, form.format(value=value), value)
    for grouped in NUMBERS.values():
        for kind, form in _NUMBER_PLACES:
            value = grouped(person(source).nhs)
            yield Planted(kind, form.format(value=value), value)
    for kind, form in _NUMBER_PLACES:
        value = person(source).hospital
        yield Planted(kind, form.format(value=value), value)


def known(seed: int) -> Iterator[Planted]:
    """Give texts with the known person's name in every spelling and place."""
    who = known_person(seed)
    for spell in NAMES.values():
        for kind, form in _NAME_PLACES:
            value = spell(who)
            yield Planted(kind, form.format(value=value), value)


def _dates(source: random.Random) -> Iterator[Planted]:
    for spell in DATES.values():
        for kind, form in _DATE_PLACES:
            value = spell(person(source).scanned)
            yield Planted(kind, form.format(value=value), value)
    for form in (
        "/data/case_{n:03}/{d}/t1.nii.gz",
        "sub-{n:03}/ses-{d}/anat.nii.gz",
        "/pacs/patient{n:03}_{d}.nii.gz",
        "/data/RXH{n:07}/{d}/ct.mha",
    ):
        for name in ("iso", "dicom"):
            value = DATES[name](person(source).scanned)
            yield Planted("text", form.format(n=source.randrange(1, 999), d=value), value)


def _contacts(source: random.Random) -> Iterator[Planted]:
    for what, form in _CONTACTS:
        for kind, place in _CONTACT_PLACES:
            who = person(source)
            given, family = (_plain(part) for part in (who.given, who.family))
            value = form.format(g=given, f=family, n=source.randrange(100, 200))
            secret = f"{given}{family}" if what == "path" else value
            if what == "path" and secret not in value:
                secret = family
            yield Planted(kind, place.format(value=value), secret)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalpha())


def _titles(source: random.Random) -> Iterator[Planted]:
    for title in ("Mr", "Mrs", "Ms", "Dr", "Dr.", "Prof.", "Mr.", "Miss"):
        for form in ("seen by {value} today", "{value}", "annotated by {value}, consultant", "# ask {value}"):
            who = person(source)
            value = source.choice((f"{who.given} {who.family}", who.family))
            yield Planted("text", form.format(value=f"{title} {value}"), value)
    for form in (
        "Patient {value} was scanned",
        "patient: {value}",
        "Scan of {value}",
        "/data/patients/{value}/ct.nii.gz",
    ):
        for _ in range(4):
            who = person(source)
            sign = "_" if "/" in form else " "
            value = f"{who.given}{sign}{who.family}"
            yield Planted("text", form.format(value=value), value)
