"""What files hide is found by their content, and what is kept of them still opens."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.privacy import Guard, Kind, Known, Policy, Verdict, summary
from mlops_lab.privacy.files import texts
from tests.conftest import missing
from tests.privacy.people import NAMES, NUMBERS, Person, person

PEOPLE = [person(random.Random(seed)) for seed in range(40)]


@pytest.fixture
def guard() -> Guard:
    return Guard(Policy(), Known({"ROE^RICHARD": "S-001"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def look(guard: Guard, folder: Path, data: bytes, name: str = "file") -> Verdict:
    path = folder / name
    path.write_bytes(data)
    return guard.file(path)


def kept(verdict: Verdict, *planted: str) -> bytes:
    """The changed copy, in which nothing that was planted is left."""
    assert verdict.outcome == "replace", verdict
    data = verdict.read()
    for identifier in planted:
        for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
            assert identifier.encode(encoding) not in data, identifier
    assert summary(verdict.findings)
    return data


def plain(who: Person) -> Person:
    """The same person where only ASCII can be written."""
    given, family = (part.encode("ascii", "replace").decode().replace("?", "x") for part in (who.given, who.family))
    return replace(who, given=given, family=family)


def spelled(who: Person, source: random.Random) -> tuple[str, str]:
    """A name and a number that are found without being known."""
    return NAMES[source.choice(["caret", "caret, mixed"])](who), source.choice(list(NUMBERS.values()))(who.nhs)


# Raw DICOM


TEXTS = ("PN", "LO", "SH", "LT", "DA", "UI")


def dicom_files() -> list[Path]:
    try:
        import pydicom
    except ImportError:
        missing("pydicom", "pip install pydicom")
    return sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))


def test_every_dicom_file_is_blocked_with_or_without_preamble_and_in_any_archive(guard: Guard, folder: Path) -> None:
    files = dicom_files()
    assert len(files) > 60
    for file in files:
        verdict = guard.file(file, "scan")
        assert verdict.outcome == "block", file
        assert verdict.findings[0].kind is Kind.DICOM_FILE
    data = files[0].read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "nothing")
        archive.writestr("image.png", data)
    for hidden in (data[132:], gzip.compress(data), packed.getvalue(), bz2.compress(gzip.compress(data))):
        assert look(guard, folder, hidden, "model.pt").outcome == "block"


def test_what_dicom_headers_say_does_not_survive_in_texts_and_checkpoints(guard: Guard, folder: Path) -> None:
    import torch
    from monai.data import MetaTensor

    from mlops_lab.privacy.detectors.dicom_attributes import BY_TAG

    files = dicom_files()
    import pydicom

    planted = 0
    for file in files:
        header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        identifying = pydicom.Dataset()
        for element in header:
            known = f"{int(element.tag):08x}" in BY_TAG and element.VM == 1 and element.VR in TEXTS
            if known and len(str(element.value)) > 4:
                identifying.add(element)
        found = {f"{int(element.tag):08x}": str(element.value) for element in identifying}
        planted += len(found)
        named = {f"{tag[:4]}|{tag[4:]}": value for tag, value in found.items()}
        keywords = "".join(f"{BY_TAG[tag].keyword}: {value}\n" for tag, value in found.items())
        document = {tag: {"vr": "LO", "Value": [value]} for tag, value in found.items()}
        checkpoint = folder / "checkpoint.pt"
        torch.save({"image": MetaTensor(torch.zeros(1), meta={**named, "dicom": document})}, checkpoint)
        verdict = guard.file(checkpoint)
        texts = [guard.text(text).text for text in (str(named), keywords, str(identifying), json.dumps(document))]
        texts.append((verdict.read() if verdict.outcome == "replace" else checkpoint.read_bytes()).decode("latin-1"))
        for value in found.values():
            assert not any(value in text for text in texts), (file.name, value)
    assert planted > 200


# Images


def nifti(fields: dict[str, str], extension: str = "", version: int = 1) -> bytes:
    import nibabel
    import numpy as np

    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.diag([1.5, 1.5, 3, 1]))
    for name, value in fields.items():
        image.header[name] = value
    if extension:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", extension.encode()))
    return image.to_bytes()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_the_header_of_an_image_is_cleaned_and_its_voxels_stay(
    guard: Guard, folder: Path, version: int, packed: bool
) -> None:
    import nibabel
    import numpy as np

    for number, who in enumerate(PEOPLE[:12]):
        who = plain(who)
        name, nhs = spelled(who, random.Random(number))
        fields = {"descrip": f"{name[:40]} {nhs}", "aux_file": f"{who.hospital}"[:20]}
        fields |= {"db_name": f"{who.family[:8]} {who.given[:8]}"} if version == 1 else {}
        fields["intent_name"] = nhs
        data = nifti(fields, f"PatientName: {name}\n" + f"PatientID: {who.hospital} " * 9, version)
        before = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
        verdict = look(guard, folder, gzip.compress(data) if packed else data, "t1.nii.gz")
        new = kept(verdict) if packed else kept(verdict, nhs, name)
        new = gzip.decompress(new) if packed else new
        for planted in (nhs, name, *([who.family[:8]] if version == 1 and len(who.family) > 4 else [])):
            assert planted.encode() not in new
        was, now = before.from_bytes(data), before.from_bytes(new)
        assert np.array_equal(np.asarray(was.dataobj), np.asarray(now.dataobj))
        assert np.array_equal(was.affine, now.affine)
        assert look(guard, folder, new, "again.nii").outcome == "pass"


def test_an_ordinary_image_is_recorded_as_it_is(guard: Guard, folder: Path) -> None:
    for fields in ({"descrip": "FSL5.0"}, {"descrip": "TE=2.9;phase=1", "aux_file": "none"}, {"intent_name": "mean"}):
        for version in (1, 2):
            data = nifti(fields, version=version)
            assert look(guard, folder, data).outcome == "pass"
            assert look(guard, folder, gzip.compress(data)).outcome == "pass"


def test_the_name_that_gzip_keeps_of_a_file_goes(guard: Guard, folder: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile("ROE_RICHARD.nii", "wb", fileobj=packed) as stream:
        stream.write(nifti({}))
    new = kept(look(guard, folder, packed.getvalue()), "RICHARD")
    assert gzip.decompress(new) == nifti({})


def test_an_analyze_header_loses_what_the_scanner_wrote_about_the_patient(guard: Guard, folder: Path) -> None:
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<2h", header, 40, 3, 4)
    header[148:156] = b"spm99 ok"
    header[283:291] = b"H1234567"
    header[293:301] = b"19970806"
    new = kept(look(guard, folder, bytes(header)), "H1234567", "19970806")
    assert len(new) == 348
    assert b"spm99 ok" in new


def test_headers_of_nrrd_and_metaimage_are_cleaned_and_their_voxels_stay(guard: Guard, folder: Path) -> None:
    voxels = bytes(range(256)) * 4
    for number, who in enumerate(PEOPLE[:10]):
        name, nhs = spelled(plain(who), random.Random(number))
        nrrd = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 8 8 8\n0010|0010:={name}\n# {nhs}\n0010|0030:=19610312\n\n"
        meta = f"ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\n0010|0010 = {name}\n0010|0020 = {who.hospital}\n"
        meta += f"Comment = {nhs}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        for text in (nrrd, meta):
            new = kept(look(guard, folder, text.encode() + voxels), name, nhs, "19610312", who.hospital)
            assert new.endswith(voxels)
            assert b"8 8 8" in new


# Checkpoints


def metadata(who: Person) -> dict[str, Any]:
    import numpy as np

    return {
        "filename_or_obj": f"/home/{who.given.lower()}x/data/{NAMES['caret'](who)}/t1.nii.gz",
        "0010|0010": NAMES["western"](who),
        "0010|0020": who.hospital,
        "00100030": {"vr": "DA", "Value": ["19610312"]},
        "PatientID": int(who.hospital[3:]),
        "note": who.nhs,
        "names": np.array([NAMES["caret"](who), "left"]),
        "raw": np.array([NAMES["caret"](who).encode("latin-1", "replace"), b"right"]),
        "objects": np.array([NAMES["caret"](who), None], dtype=object),
        "spacing": np.array([1.5, 1.5, 3.0]),
        "kind": "T1w",
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_loses_the_metadata_of_its_patients_and_loads_as_before(
    guard: Guard, folder: Path, zipped: bool
) -> None:
    import torch
    from monai.data import MetaTensor

    for who in PEOPLE[:10]:
        weights = torch.randn(33, 7)
        path = folder / f"{who.family}^{who.given}.pt"
        state = {
            "net": {"conv.weight": weights},
            "sample": MetaTensor(torch.ones(2, 3), meta=metadata(who)),
            "epoch": 7,
        }
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        planted = NAMES["caret"](who), NAMES["western"](who), who.hospital, who.nhs, f"{who.given.lower()}x"
        data = kept(guard.file(path), *planted)
        assert struct.pack("<i", int(who.hospital[3:])) not in data
        state = torch.load(io.BytesIO(data), weights_only=False)
        assert torch.equal(state["net"]["conv.weight"], weights)
        assert state["epoch"] == 7
        sample = state["sample"]
        assert torch.equal(sample.as_tensor(), torch.ones(2, 3))
        assert sample.meta["kind"] == "T1w"
        assert list(sample.meta["spacing"]) == [1.5, 1.5, 3.0]
        assert sample.meta["names"][1] == "left"
        if zipped:
            (folder / "copy.pt").write_bytes(data)
            mapped = torch.load(folder / "copy.pt", weights_only=False, mmap=True)
            assert torch.equal(mapped["net"]["conv.weight"], weights)
            assert all(offset % 64 == 0 for offset in storages(data))


def storages(data: bytes) -> list[int]:
    offsets = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            if "/data/" in info.filename:
                name, extra = struct.unpack_from("<2H", data, info.header_offset + 26)
                offsets.append(info.header_offset + 30 + name + extra)
    return offsets


def test_a_checkpoint_without_identifiers_is_recorded_as_it_is(guard: Guard, folder: Path) -> None:
    import torch

    path = folder / "best_model.pt"
    torch.save({"net": torch.nn.Conv3d(1, 2, 3).state_dict(), "key_metric": 0.9123, "date": "2024-05-01"}, path)
    assert guard.file(path) == Verdict("pass")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_any_protocol_is_cleaned_without_running_it(guard: Guard, folder: Path, protocol: int) -> None:
    for who in PEOPLE[:10]:
        name = NAMES["caret"](who)
        value = {
            "case": name,
            "again": [name, name],
            "PatientID": who.hospital,
            "lr": 0.1,
            "n": [1, 2],
            "t": ("x" * 70000,),
        }
        new = kept(look(guard, folder, pickle.dumps(value, protocol)), name, who.hospital)
        assert pickle.loads(new) == value | {"case": "<name>", "again": ["<name>"] * 2, "PatientID": "<id>"}


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("the pickle was run",)


def test_a_pickle_is_never_run(guard: Guard, folder: Path) -> None:
    for protocol in range(6):
        assert look(guard, folder, pickle.dumps(Trap(), protocol)).outcome == "pass"


def test_texts_in_arrays_and_safetensors_are_cleaned(guard: Guard, folder: Path) -> None:
    import numpy as np

    for who in PEOPLE[:10]:
        name = NAMES["caret"](who)
        for array in (
            np.array([name, "liver"]),
            np.array([[name.encode("latin-1", "replace")], [b"liver"]]),
            np.array([name, 3], dtype=object),
            np.array([(who.hospital, 0.5)], dtype=[("PatientID", "U12"), ("dice", "f4")]),
        ):
            single, several = io.BytesIO(), io.BytesIO()
            np.save(single, array)
            np.savez_compressed(several, cases=array, dice=np.ones(1000))
            loaded = np.load(
                io.BytesIO(kept(look(guard, folder, single.getvalue()), name, who.hospital)), allow_pickle=True
            )
            assert loaded.shape == array.shape
            assert loaded.dtype == array.dtype
            with np.load(io.BytesIO(kept(look(guard, folder, several.getvalue()))), allow_pickle=True) as archive:
                assert str(archive["cases"]) == str(loaded)
                assert archive["dice"].sum() == 1000
        header = json.dumps(
            {"__metadata__": {"case": name}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        )
        raw = struct.pack("<Q", len(header.encode())) + header.encode() + struct.pack("<f", 2.5)
        new = kept(look(guard, folder, raw), name)
        (size,) = struct.unpack_from("<Q", new)
        assert json.loads(new[8 : 8 + size])["w"]["data_offsets"] == [0, 4]
        assert new[8 + size :] == struct.pack("<f", 2.5)
    numbers = io.BytesIO()
    np.savez(numbers, a=np.arange(10), b=np.ones((3, 3)))
    assert look(guard, folder, numbers.getvalue()).outcome == "pass"


# Figures


@pytest.mark.parametrize("form", ["png", "svg", "pdf", "jpg", "tiff"])
def test_the_title_of_a_figure_is_not_to_be_read_in_the_file(guard: Guard, folder: Path, form: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    for number, who in enumerate(PEOPLE[:6]):
        name, nhs = spelled(plain(who), random.Random(number))
        figure, axes = plt.subplots(figsize=(2, 2))
        axes.set_title(f"dice of {name}")
        axes.set_xlabel(f"NHS {nhs}")
        path = folder / f"figure.{form}"
        if form in ("png", "svg", "pdf"):
            figure.savefig(path, metadata={"Title": f"{name} {nhs}"})
        else:
            description = {270: f"{name} {nhs}"} if form == "tiff" else {"comment": f"{name} {nhs}".encode()}
            given = {"tiffinfo": description} if form == "tiff" else description
            figure.savefig(path, pil_kwargs=given)
        plt.close(figure)
        data = kept(guard.file(path), name, nhs)
        if form == "pdf":
            streams = [
                zlib.decompressobj().decompress(part) for part in data.split(b"stream\n")[1::2] if part[:1] == b"x"
            ]
            assert not any(
                len(family) > 3 and family.encode() in text for text in streams for family in name.split("^")
            )
            assert data.count(b"%%EOF") == 1
        elif form == "svg":
            from xml.etree import ElementTree

            ElementTree.fromstring(data)
        else:
            from PIL import Image

            with Image.open(io.BytesIO(data)) as picture, Image.open(path) as original:
                assert picture.tobytes() == original.tobytes()
        assert look(guard, folder, data).outcome == "pass"


def test_an_ordinary_figure_is_recorded_as_it_is(guard: Guard, folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(2, 2))
    axes.plot([0.1, 0.9])
    axes.set_title("validation dice, fold 3")
    for form in ("png", "svg", "pdf", "jpg"):
        figure.savefig(folder / f"figure.{form}")
        assert guard.file(folder / f"figure.{form}").outcome == "pass", form
    plt.close(figure)


# Texts


def test_tables_documents_and_code_are_cleaned_and_stay_what_they_are(guard: Guard, folder: Path) -> None:
    import tomllib
    from xml.etree import ElementTree

    import yaml

    for who in PEOPLE[:10]:
        name, nhs = NAMES["western"](who), who.nhs
        planted = (name, nhs, who.hospital, "1961-03-12")
        row = f'"{name}",{who.hospital},1961-03-12,0.91\n'
        table = f"PatientName,mrn,dob,dice\n{row}{row}"
        assert kept(look(guard, folder, table.encode()), *planted).count(b"\n") == 3
        assert kept(look(guard, folder, table.replace(",", "\t").encode("utf-16")), name)
        document = {
            "PatientName": name,
            "mrn": int(who.hospital[3:]),
            "nhs": int(nhs),
            "loss": [0.1, 1e-05],
            "dob": "1961-03-12",
        }
        for indent in (None, 2):
            new = json.loads(kept(look(guard, folder, json.dumps(document, indent=indent).encode()), *planted))
            assert new["loss"] == [0.1, 1e-05]
        lines = "\n".join(json.dumps(document) for _ in range(3))
        assert all(json.loads(line) for line in kept(look(guard, folder, lines.encode()), *planted).splitlines())
        text = f"lr: 0.1\nPatientName: {name}\nnhs: {nhs}\ncases:\n  - /data/{who.family}^{who.given}.nii\n"
        assert yaml.safe_load(kept(look(guard, folder, text.encode()), *planted))["lr"] == 0.1
        text = f'lr = 0.1\npatient_name = "{name}"\nnhs = {nhs}\nborn = "born 1961-03-12"\n'
        assert tomllib.loads(kept(look(guard, folder, text.encode()), *planted).decode())["lr"] == 0.1
        text = f"<r><PatientName>{name}</PatientName><c n='2'>{nhs}</c><d>DOB 1961-03-12</d></r>"
        assert ElementTree.fromstring(kept(look(guard, folder, text.encode()), *planted)).find("c") is not None
        text = f"import os\npatient_name = {name!r}\nnhs = {nhs}\nprint('born 1961-03-12')\n"
        compile(kept(look(guard, folder, text.encode()), *planted), "cell", "exec")


def test_a_notebook_is_cleaned_cell_by_cell_with_its_outputs_and_pictures(guard: Guard, folder: Path) -> None:
    who = PEOPLE[0]
    name = NAMES["caret"](who)
    text = f"tEXtTitle\0{name}".encode("latin-1", "replace")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    end = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk + end).decode()
    notebook = {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": [f"# {name}\n", "text"]},
            {
                "cell_type": "code",
                "execution_count": 1,
                "metadata": {},
                "source": ["import os\n", f"nhs = {who.nhs}\n", "password = 'hunter2'\n"],
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": [f"PatientID: {who.hospital}\n", "ok\n"]},
                    {
                        "output_type": "display_data",
                        "data": {"image/png": picture, "text/plain": [name]},
                        "metadata": {},
                    },
                ],
            },
        ],
        "metadata": {"kernelspec": {"name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    data = kept(look(guard, folder, json.dumps(notebook, indent=1).encode()), name, who.nhs, who.hospital, "hunter2")
    new = json.loads(data)
    compile("".join(new["cells"][1]["source"]), "cell", "exec")
    assert name.encode() not in base64.b64decode(new["cells"][1]["outputs"][1]["data"]["image/png"])
    assert new["metadata"] == notebook["metadata"]


def test_a_large_table_is_read_in_stretches_and_its_columns_are_remembered(
    guard: Guard, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "AT_ONCE", 1 << 16)
    monkeypatch.setattr(texts, "STRETCH", 1 << 14)
    rows = "".join(f"H{number:07},0.91,liver\n" for number in range(6_000))
    verdict = look(guard, folder, f"patient_id,dice,note\n{rows}".encode())
    assert verdict.outcome == "replace"
    data = verdict.read()
    assert b"H00" not in data
    assert data.count(b"\n") == 6_001


# Archives


def test_archives_are_cleaned_inside_and_out(guard: Guard, folder: Path) -> None:
    for who in PEOPLE[:6]:
        name = NAMES["caret"](who)
        files = {
            f"{name}/notes.txt": f"seen {who.nhs}",
            "plain.txt": "nothing",
            "deep.json.gz": f'{{"mrn": "{who.hospital}"}}',
        }
        packed, tarred = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive, tarfile.open(fileobj=tarred, mode="w") as tar:
            for path, text in files.items():
                data = gzip.compress(text.encode()) if path.endswith("gz") else text.encode()
                archive.writestr(path, data, zipfile.ZIP_DEFLATED if "notes" in path else zipfile.ZIP_STORED)
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with zipfile.ZipFile(io.BytesIO(kept(look(guard, folder, packed.getvalue()), name, who.hospital))) as archive:
            assert archive.testzip() is None
            read = {info.filename: archive.read(info) for info in archive.infolist()}
        for squeeze, unsqueeze in ((bytes, bytes), (gzip.compress, gzip.decompress), (lzma.compress, lzma.decompress)):
            new = unsqueeze(kept(look(guard, folder, squeeze(tarred.getvalue()))))
            with tarfile.open(fileobj=io.BytesIO(new)) as tar:
                members = {info.name: tar.extractfile(info) for info in tar}
                assert {path: stream.read() for path, stream in members.items() if stream}["plain.txt"] == b"nothing"
                assert not any(name in path for path in members)
            assert who.nhs.encode() not in new
        assert read["plain.txt"] == b"nothing"
        assert not any(who.nhs.encode() in data or name in path for path, data in read.items())
        assert who.hospital.encode() not in gzip.decompress(read["deep.json.gz"])


def test_what_cannot_be_looked_into_is_blocked_and_says_why(guard: Guard, folder: Path) -> None:
    nested = b"born 1961-03-12"
    for _ in range(8):
        nested = gzip.compress(nested)
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a", "b" * 1000)
    for data, why in (
        (nested, "within archives"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "zip or tar.gz"),
        (broken.getvalue()[:-30], "format"),
        (gzip.compress(b"x" * 1000)[:-20], "format"),
        (gzip.compress(bytes(300 << 20), 1), "MB"),
    ):
        verdict = look(guard, folder, data)
        assert verdict.outcome == "block"
        assert why in verdict.reason
        assert verdict.findings[0].kind is Kind.UNREADABLE
    missing_file = guard.file(folder / "nothing here")
    assert missing_file.outcome == "block"
    assert "FileNotFoundError" in missing_file.reason


def test_an_unknown_binary_keeps_its_length_and_noise_keeps_every_byte(guard: Guard, folder: Path) -> None:
    for who in PEOPLE[:10]:
        name = NAMES["caret"](who)
        raw = (
            bytes(range(128, 256)) * 2
            + f"PatientName: {name} of {who.nhs}".encode()
            + bytes(64)
            + who.nhs.encode("utf-16-le")
            + bytes(9)
        )
        new = kept(look(guard, folder, raw), name, who.nhs)
        assert len(new) == len(raw)
        assert new[:256] == raw[:256]
    noise = random.Random(3).randbytes(8 << 20)
    assert look(guard, folder, noise).outcome == "pass"


def test_a_broken_file_of_any_kind_never_raises(guard: Guard, folder: Path) -> None:
    source = random.Random(5)
    begins = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe1",
        b"II*\0\x08\0\0\0",
        b"%PDF-1.4\n",
        b"\x93NUMPY\x01\0",
        b"NRRD0004\n",
        b"PK\3\4",
    ]
    begins += [
        b"\x80\x04",
        b"\x80\x02",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"(dp0\n",
        struct.pack("<i", 348),
        b'{"cells": [',
        b"<svg",
        b"",
    ]
    good = [nifti({"descrip": "ROE^RICHARD"}), pickle.dumps({"a": ["ROE^RICHARD"] * 3}), gzip.compress(b"ROE^RICHARD")]
    for _ in range(300):
        data = bytearray(source.choice(begins) + source.randbytes(source.randrange(400)))
        if source.random() < 0.5:
            data = bytearray(source.choice(good))
            for _ in range(source.randrange(1, 6)):
                data[source.randrange(len(data))] = source.randrange(256)
            data = data[: source.randrange(1, len(data) + 1)]
        verdict = look(guard, folder, bytes(data))
        if verdict.outcome == "replace":
            verdict.save(folder / "copy")
            assert (folder / "copy").read_bytes() == verdict.read()


def spreadsheet(rows: list[list[str | int]]) -> bytes:
    """Write a workbook as spreadsheet programs do: texts in one part, their places in another."""
    texts = [cell for row in rows for cell in row if isinstance(cell, str)]
    items = "".join(f"<si><t>{text}</t></si>" for text in texts)
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = "".join(
            f'<c r="{column}{number}" t="s"><v>{texts.index(cell)}</v></c>'
            if isinstance(cell, str)
            else f'<c r="{column}{number}"><v>{cell}</v></c>'
            for column, cell in zip("ABCDEF", row, strict=False)
        )
        lines.append(f'<row r="{number}">{cells}</row>')
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/sharedStrings.xml", f"<sst>{items}</sst>")
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet><sheetData>{''.join(lines)}</sheetData></worksheet>")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([["patient", "dice"], ["Quorx Xan", 1]], "block"),
        ([["MRN", "dice"], [4471234, 1]], "block"),
        ([["patient", "dice"], ["sub-001", 1], ["sub-002", 1]], "pass"),
        ([["class", "dice"], ["Left Kidney", 1]], "pass"),
        ([["case", "comment"], [1, "asked by Peter Hansen"]], "replace"),
    ],
)
def test_a_spreadsheet_is_recorded_unless_a_column_identifies_persons(
    guard: Guard, folder: Path, rows: list[list[str | int]], outcome: str
) -> None:
    verdict = look(guard, folder, spreadsheet(rows), "results.xlsx")
    assert verdict.outcome == outcome
    assert ("CSV" in verdict.reason) == (outcome == "block")


LARGE = {
    "zeros": bytes(2**20),
    "numbers": random.Random(3).randbytes(2**20),
    "a log": b"epoch 3, loss 0.1\n" * 60_000,
}


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
def test_a_large_file_is_looked_through_in_small_pieces_with_a_pause_after_each(
    guard: Guard, folder: Path, content: bytes
) -> None:
    (folder / "large").write_bytes(content)
    pauses: list[None] = []
    verdict = guard.file(folder / "large", "large", lambda: pauses.append(None))
    assert verdict.outcome == "pass"
    assert len(pauses) >= len(content) // (256 * 2**10)


def test_what_crosses_the_pieces_of_a_long_text_does_not_survive(guard: Guard, folder: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 40 + "-----END PRIVATE KEY-----\n"
    person = "patient:\n  dice: 0.9\n  name: Quorx Xan\n  id: 4471234\n"
    filler = "epoch 3, loss 0.1\n"
    text = "".join(filler * (100 + 7 * number) + key + filler * 50 + person for number in range(40))
    (folder / "long.txt").write_text(text)
    verdict = guard.file(folder / "long.txt")
    after = verdict.read().decode()
    assert verdict.outcome == "replace"
    assert "MIIEvQ" not in after
    assert "Quorx" not in after
    assert "4471234" not in after
    assert after.count(filler) == text.count(filler)
