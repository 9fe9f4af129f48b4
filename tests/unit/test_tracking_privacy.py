"""What leaves this computer: of a block full of identifiers none reaches the server, and what is harmless arrives."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from mlops_lab.connection.rest import TrackingServer
from mlops_lab.datasets import UsedDataset, use
from mlops_lab.datasets.model import DatasetVersion, DataUsed
from mlops_lab.datasets.objects import File
from mlops_lab.privacy import Guard
from mlops_lab.tracking import Run, identifiers, sync, track
from mlops_lab.tracking.block import Block
from mlops_lab.tracking.journal import segments
from mlops_lab.tracking.model import Artifact, Param
from tests.conftest import missing
from tests.dvc_repositories import DvcRepository
from tests.privacy import ward
from tests.unit.test_tracking_block import artifacts, params, tags

EVERYTHING_ON = """
[privacy]
printed_output = true
sample_images = true
uncommitted_changes = true
notebook_snapshot = true
"""


def letters(text: str) -> str:
    """What is left of a text when nobody cares how it is spelled."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text).casefold() if letter.isalnum())


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Give a file, and everything that is packed in it."""
    yield name, data
    inner: list[tuple[str, bytes]] = []
    if data[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = [(part, archive.read(part)) for part in archive.namelist()]
    elif data[:2] == b"\x1f\x8b":
        inner = [(f"{name}, unpacked", gzip.decompress(data))]
    elif len(data) > 512 and data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            inner = [(part.name, tar.extractfile(part).read()) for part in tar if part.isfile()]  # type: ignore[union-attr]
    elif data[:5] == b"%PDF-":
        for stream in re.finditer(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
            try:
                page = zlib.decompress(stream[1])
            except zlib.error:
                continue
            inner.append((name, b"".join(re.findall(rb"[(<]([^()<>]*)[)>]", page))))
            inner.append((name, page))
    for part, content in inner:
        yield part, part.encode()
        yield from unpacked(part, content)


def written(data: bytes) -> str:
    """Read bytes in every way in which a text may stand in them."""
    readings = (
        data.decode("utf-8", "replace"),
        data.decode("utf-16-le", "replace"),
        data.decode("utf-32-le", "replace"),
    )
    plain = data.decode("latin-1")
    unescaped = plain.encode("latin-1").decode("unicode_escape", "replace") if "\\u" in plain else ""
    return letters("".join((*readings, unquote(readings[0]), unescaped)))


def everything(server: TrackingServer, run_id: str, place: Path) -> dict[str, str]:
    """Give all that the server has of a run, letters and digits only, by where it stands."""
    run = server.get_run(run_id)
    found = {"the run": letters(unquote(json.dumps(run, ensure_ascii=False)))}
    waiting = [""]
    while waiting:
        for file in server.list_artifacts(run_id, waiting.pop()):
            if file.get("is_dir"):
                waiting.append(file["path"])
                continue
            target = place / str(len(found))
            data = server.download_artifact(run_id, file["path"], target).read_bytes()
            for number, (_, part) in enumerate(unpacked(file["path"], data)):
                found[f"{file['path']} {number}"] = written(part)
    return found


def project(place: Path, policy: str = EVERYTHING_ON) -> DvcRepository:
    place.mkdir()
    repository = DvcRepository(place)
    repository.git("init", "--quiet", "--initial-branch", "main")
    repository.write({"mlops.toml": policy, "train.py": "epochs = 4\n"})
    repository.commit("begin")
    return repository


def test_an_ordinary_run_gives_no_finding_at_all(
    server: TrackingServer, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path / "project").path)
    source = "max_epochs = 4\nlr = 1e-3\nmodel = 'UNet'\nprint('epoch 1, loss 0.5')\n"
    block = Block(experiment, "baseline", params={"optimizer": "Adam", "roi": [96, 96, 96]}, source=source)
    run = block.open()
    for epoch in range(3):
        run.log_metric("train/loss", 1 / (epoch + 1))
        print(f"epoch {epoch}, loss {1 / (epoch + 1)}")
    run.log_text("case,dice\n1,0.9\n", "cases.csv")
    block.close()
    assert run.run_id
    assert run.gate is not None
    assert run.gate.findings == []
    there = server.get_run(run.run_id)
    assert "mlops_lab.privacy" not in tags(there)
    assert "environment" in artifacts(server, run.run_id)
    environment = server.download_artifact(run.run_id, "environment/packages.txt", tmp_path / "packages").read_text()
    assert "mlflow==" in environment
    assert "***" not in environment
    assert run.notices == []


class Plants:
    """Invented persons, one for each place, so that whoever survives says where."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self._count = 0

    def person(self, where: str) -> tuple[str, str, str]:
        """Give family name, given name and number of somebody who is met at one place only."""
        self._count += 1
        vowels = "aeiou"
        family = "Qu" + "".join(f"{vowels[int(digit) % 5]}{'bdfgklmnpr'[int(digit)]}" for digit in f"{self._count:03}")
        number = f"77{self._count:03}{self._count * 7 % 1000:03}"
        self.secrets[letters(family)] = self.secrets[number] = where
        return family, "Maria", number


def corpus(run: Run, plants: Plants) -> None:
    """Record the lines of the ward, each as what it is, and those of the lab beside them."""
    for at, line in enumerate(ward.planted()):
        for secret in line.secrets:
            if len(letters(secret)) >= (5 if secret.isalpha() else 6):  # hashes hold any shorter number
                plants.secrets[letters(secret)] = f"{line.kind} {line.text}"
        record(run, f"planted{at}", line)


def record(run: Run, prefix: str, line: ward.Line) -> None:
    name = f"{prefix}.{line.name}" if line.name else prefix
    if line.kind == "param":
        run.log_param(name, line.text)
    elif line.kind == "tag":
        run.set_tag(name, line.text)
    elif line.kind == "name":
        run.log_metric(f"{prefix}/{line.text}", 0.5)
        run.log_text("nothing", f"{prefix}/{line.text}")
    else:
        run.log_text(line.text, f"{prefix}/content.{'json' if line.kind == 'json' else 'txt'}")


def figures(place: Path, plants: Plants) -> Iterator[Path]:
    """Draw figures with a title that names somebody, in each format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for suffix in ("png", "svg", "pdf"):
        family, given, number = plants.person(f"figure.{suffix}")
        figure = pyplot.figure()
        if suffix != "png":  # the letters of a picture are pixels, which nobody reads
            figure.suptitle(f"{family.upper()}^{given.upper()} MRN {number}")
        pyplot.plot([1, 2])
        metadata = {"Title": f"Patient {family}^{given}", "Description": f"MRN {number}"}
        if suffix == "pdf":
            metadata = {"Title": f"Patient {family}^{given}", "Subject": f"MRN {number}"}
        path = place / f"figure.{suffix}"
        with pyplot.rc_context({"svg.fonttype": "none"}):
            figure.savefig(path, metadata=metadata)
        pyplot.close(figure)
        yield path


def files(place: Path, plants: Plants) -> Iterator[Path]:
    """Write a file of each format that runs are full of, with somebody in it."""
    import nibabel
    import numpy
    import torch
    from monai.data.meta_tensor import MetaTensor

    def told(where: str) -> str:
        family, given, number = plants.person(where)
        return f"{family.upper()}^{given.upper()} MRN {number}"

    def path_of(where: str) -> str:
        family, given, number = plants.person(where)
        return f"/mnt/pacs/{number}_{family}_{given}/ct.nii.gz"

    image = nibabel.Nifti1Image(numpy.zeros((2, 2, 2), "float32"), numpy.eye(4))
    family, given, number = plants.person("nifti")
    image.header["descrip"] = f"{family.upper()}^{given.upper()}".encode()
    image.header["aux_file"] = f"MRN {number}".encode()
    for suffix in ("nii", "nii.gz"):
        nibabel.save(image, place / f"image.{suffix}")
        yield place / f"image.{suffix}"
    tensor = MetaTensor(torch.zeros(2, 2), meta={"filename_or_obj": path_of("checkpoint"), "PatientName": told("meta")})
    torch.save({"net": {"w": torch.ones(3)}, "last": tensor, "case": told("checkpoint")}, place / "model.pt")
    yield place / "model.pt"
    with open(place / "cases.pkl", "wb") as stream:
        pickle.dump({"path": path_of("pickle"), "meta": {"PatientID": plants.person("pickle")[2]}}, stream)
    yield place / "cases.pkl"
    numpy.savez(place / "cases.npz", names=numpy.array([path_of("npz")]), dice=numpy.ones(2))
    yield place / "cases.npz"
    family, given, number = plants.person("csv")
    (place / "cases.csv").write_text(f'patient,mrn,dice\n"{family}, {given}",{number},0.9\n')
    yield place / "cases.csv"
    family, given, number = plants.person("json")
    (place / "cases.json").write_text(json.dumps({"patient": f"{given} {family}", "mrn": int(number)}))
    yield place / "cases.json"
    (place / "config.yaml").write_text(f"data:\n  image: {path_of('yaml')}\n")
    yield place / "config.yaml"
    (place / "scan.nrrd").write_bytes(f"NRRD0004\ntype: short\nPatientName:={told('nrrd')}\n\n".encode() + bytes(64))
    yield place / "scan.nrrd"
    (place / "scan.mha").write_bytes(
        f"ObjectType = Image\nNDims = 3\nPatientName = {told('mha')}\nElementDataFile = LOCAL\n".encode() + bytes(64)
    )
    yield place / "scan.mha"
    (place / "page.html").write_text(f"<table><tr><th>Patient Name</th></tr><tr><td>{told('html')}</td></tr></table>")
    yield place / "page.html"
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        archive.writestr(f"{plants.person('zip member')[0]}^MARIA/notes.txt", told("zip"))
    yield place / "all.zip"
    with tarfile.open(place / "all.tar.gz", "w:gz") as tar:
        data = told("tar").encode()
        info = tarfile.TarInfo("notes.txt")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    yield place / "all.tar.gz"
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "source": [f"path = '{path_of('notebook source')}'\n"],
                "outputs": [{"output_type": "stream", "name": "stdout", "text": [told("notebook output") + "\n"]}],
                "metadata": {},
                "execution_count": 1,
            }
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (place / "notebook.ipynb").write_text(json.dumps(notebook))
    yield place / "notebook.ipynb"


def pydicom_or_nothing() -> Any:
    try:
        import pydicom
    except ImportError:
        missing("pydicom", "pip install pydicom")
    return pydicom


def dicom_headers(plants: Plants) -> Iterator[tuple[Path, str]]:
    """Give pydicom's own files, and their headers as text."""
    pydicom = pydicom_or_nothing()
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(folder.glob("*.dcm"))[:30]:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            text = str(header)
        except Exception:  # half of them are broken on purpose
            continue
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
            value = letters(str(header.get(keyword, "")))
            if len(value) >= 8:
                plants.secrets[value] = f"{path.name} {keyword}"
        yield path, text


def block_full_of_identifiers(experiment: str, place: Path, plants: Plants) -> Run:
    """Run a block that plants somebody everywhere, and give its run."""
    import mlflow

    source_family, _, source_number = plants.person("source")
    source = f"case = '/mnt/pacs/{source_number}_{source_family}_Maria/ct.nii.gz'\nmax_epochs = 4\n"
    family, given, number = plants.person("run name")
    block = Block(
        experiment,
        f"{family}^{given}",
        tags={"note": f"MRN {number}"},
        params={"patient": f"{given} {family}"},
        source=source,
    )
    run = block.open()
    corpus(run, plants)
    place.mkdir()
    for path in (*files(place, plants), *figures(place, plants)):
        run.log_artifact(path)
    for path, text in dicom_headers(plants):
        run.log_artifact(path)
        run.log_text(text, f"headers/{path.stem}.txt")
        run.log_param(f"header_{path.stem}", text[:5000])
    family, given, number = plants.person("a checkpoint's name")
    (place / f"{family}_{given}_{number}.txt").write_text("x")
    run.log_artifact(place / f"{family}_{given}_{number}.txt", f"{family}^{given}")
    family, given, number = plants.person("explicit calls")
    mlflow.log_param("subject", f"{family}, {given}")
    mlflow.log_metric(f"dice/{family}_{given}_{number}", 0.4)
    mlflow.set_tag("case", f"/mnt/pacs/{number}_{family}_{given}")
    mlflow.log_text(f"MRN {number}", "explicit.txt")
    mlflow.log_dict({"patient": f"{given} {family}"}, "explicit.json")
    run.notice(f"Nothing was found in /mnt/pacs/{plants.person('a notice')[2]}_Quasar_Maria/ct.nii.gz.")
    family, given, number = plants.person("printed output")
    print(f"reading /mnt/pacs/{number}_{family}_{given}/ct.nii.gz")
    family, given, number = plants.person("error")
    block.close(KeyError(f"/mnt/pacs/{number}_{family}_{given}/ct.nii.gz"))
    return run


def test_of_a_block_full_of_identifiers_none_leaves_and_none_stays_beside_the_journal(
    server: TrackingServer,
    experiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = project(tmp_path / "project")
    plants = Plants()
    family, given, number = plants.person("an uncommitted change")
    repository.write({"train.py": f"root = '/mnt/pacs/{number}_{family}_{given}'\n"})
    family, given, number = plants.person("a branch")
    repository.git("checkout", "--quiet", "-b", f"fix/{family}-{given}-{number}")
    monkeypatch.chdir(repository.path)

    run = block_full_of_identifiers(experiment, tmp_path / "files", plants)
    shown = capsys.readouterr()
    shown_text = letters(unquote(shown.err + "".join(run.notices) + "".join(run.progress().notices)))

    assert run.run_id
    (tmp_path / "there").mkdir()
    there = everything(server, run.run_id, tmp_path / "there")
    beside = {str(path): written(path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()}
    survived = [
        (where, place)
        for secret, where in plants.secrets.items()
        for place, text in (*there.items(), *beside.items(), ("the screen", shown_text))
        if secret in text
    ]
    assert len(plants.secrets) >= 200
    assert survived == []
    assert "traceback.txt 0" in there
    assert "output.txt 0" in there
    assert "lineage/uncommitted.patch 0" in there
    assert "cell.py 0" in there
    assert run.gate is not None
    listed = json.loads(run.gate.document())
    assert {item["kind"] for item in listed["findings"]} >= {"name", "nhs_number", "date", "dicom_file", "email"}


def test_what_only_looks_like_an_identifier_arrives_as_it_was(
    server: TrackingServer, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path / "project").path)
    lines = list(ward.harmless())
    source = "patient = load(path)\nlabels = {'Left Kidney': 1}\nage = 95 - 3\n"
    block = Block(experiment, "look-alikes", source=source)
    run = block.open()
    for at, line in enumerate(lines):
        record(run, f"kept{at}", line)
    block.close()
    assert run.run_id
    there = server.get_run(run.run_id)
    params_there, tags_there = params(there), tags(there)
    altered = []
    for at, line in enumerate(lines):
        name = f"kept{at}.{line.name}" if line.name else f"kept{at}"
        if line.kind in ("param", "tag"):
            arrived = (params_there if line.kind == "param" else tags_there).get(name) == line.text
        elif line.kind == "name":
            arrived = any(metric["key"] == f"kept{at}/{line.text}" for metric in there["data"]["metrics"])
        else:
            (file,) = (file["path"] for file in server.list_artifacts(run.run_id, f"kept{at}"))
            arrived = server.download_artifact(run.run_id, file, tmp_path / "file").read_text() == line.text
        altered += [line] if not arrived else []
    assert len(lines) >= 200
    assert len(altered) <= 0.02 * len(lines), altered


def killed_before_its_file_was_looked_through(experiment: str, folder: Path, path: Path) -> None:
    """Run a block in a process that dies by SIGKILL while nobody has looked through its file."""
    program = f"""
import os, signal, time
from mlops_lab.tracking import screening, track
screening.screen = lambda *everything: time.sleep(600)
with track(experiment={experiment!r}, run_name="killed") as run:
    run.log_metric("loss", 0.25)
    run.log_artifact({str(path)!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=False, timeout=120)


def killed_run(server: TrackingServer, experiment: str) -> str:
    found = server.experiment_by_name(experiment)
    assert found is not None
    (run,) = server.search_runs([found["experiment_id"]])["runs"]
    return str(run["info"]["run_id"])


def test_what_a_killed_kernel_left_is_looked_through_before_sync_sends_it(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    repository = project(tmp_path / "project")
    (tmp_path / "cases.csv").write_text("patient,dice\nQuabadee Maria,0.9\n")
    killed_before_its_file_was_looked_through(experiment, repository.path, tmp_path / "cases.csv")

    sync()

    run_id = killed_run(server, experiment)
    text = server.download_artifact(run_id, "cases.csv", tmp_path / "there.csv").read_text()
    assert text == "patient,dice\n<name>,0.9\n"


def test_without_a_readable_policy_the_figures_go_and_the_files_stay_until_it_is_mended(
    server: TrackingServer, experiment: str, tmp_path: Path
) -> None:
    repository = project(tmp_path / "project")
    (tmp_path / "cases.csv").write_text("patient,dice\nQuabadee Maria,0.9\n")
    killed_before_its_file_was_looked_through(experiment, repository.path, tmp_path / "cases.csv")
    repository.write({"mlops.toml": "[privacy\n"})

    report = sync()

    (outcome,) = (outcome for outcome in report.runs if outcome.name == "killed")
    run_id = killed_run(server, experiment)
    assert outcome.status != "sent"
    assert outcome.message.count("mlops.toml") == 1
    assert "cases.csv" not in artifacts(server, run_id)
    assert [metric["value"] for metric in server.get_run(run_id)["data"]["metrics"] if metric["key"] == "loss"] == [
        0.25
    ]

    repository.write({"mlops.toml": EVERYTHING_ON})
    sync()
    text = server.download_artifact(run_id, "cases.csv", tmp_path / "there.csv").read_text()
    assert text == "patient,dice\n<name>,0.9\n"


def scan(name: str, number: str, born: str, removed: bool = False) -> bytes:
    """Write a DICOM file of somebody."""
    pydicom = pydicom_or_nothing()
    from pydicom.data import get_testdata_file

    scan = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    scan.PatientName, scan.PatientID, scan.PatientBirthDate, scan.AccessionNumber = name, number, born, f"A{number}"
    if removed:
        scan.PatientIdentityRemoved = "YES"
    stream = io.BytesIO()
    scan.save_as(stream)
    return stream.getvalue()


def version_with_persons(dvc_repo: Callable[..., DvcRepository]) -> UsedDataset:
    """Make a dataset version whose paths, table and headers name persons."""
    repository = dvc_repo()
    repository.save(
        "ward",
        "ward",
        {
            "images/xoph_quemby_1.nii.gz": b"one",
            "images/sub-002_T1w.nii.gz": b"two",
            "p1/ct.nii.gz": b"three",
            "p2/ct.nii.gz": b"four",
            "series/0001.dcm": scan("QUIDDY^ZEPH", "XQ-90210", "19610203"),
            "public/0001.dcm": scan("LIDC-IDRI-0001", "LIDC-IDRI-0001", "", removed=True),
            "participants.tsv": "participant_id\tpatient_name\tmrn\tage\nsub-001\tBroxen, Wylla\tKK-5512\t54\n",
        },
    )
    return use("ward", path=repository.path)


def test_what_a_dataset_version_says_of_its_patients_is_known_wherever_it_stands(
    dvc_repo: Callable[..., DvcRepository],
) -> None:
    used = version_with_persons(dvc_repo)
    hashes = {file.path: file.md5 for file in used.files}
    guard = Guard(known=identifiers.known([used]))

    def after(text: str) -> str:
        return guard.text(text).text

    image = hashes["images/xoph_quemby_1.nii.gz"]
    assert after(f"{used.path}/images/xoph_quemby_1.nii.gz") == f"{used.path}/{image}"
    assert after("/elsewhere/XOPH_QUEMBY_1.nii.gz") == f"/elsewhere/{image}"
    assert guard.name("dice/xoph_quemby_1").text == f"dice/{image}"
    assert after("p1/ct.nii.gz") == hashes["p1/ct.nii.gz"]
    assert after("ct.nii.gz") == "ct.nii.gz"  # two files are called so
    assert after("seen: wylla broxen, kk-5512") == "seen: <name>, <id>"
    assert after("zeph quiddy") == "<name>"
    assert after("XQ-90210 and AXQ-90210") == "<id> and <id>"
    assert after("1961-02-03") == "<id>"
    # Pseudonyms, and what says of itself that it was made anonymous, stay.
    assert after("sub-001") == "sub-001"
    assert guard.name("dice/sub-002").text == "dice/sub-002"
    assert after("LIDC-IDRI-0001") == "LIDC-IDRI-0001"


def test_a_series_is_named_as_its_cases_are(dvc_repo: Callable[..., DvcRepository]) -> None:
    from mlops_lab.tracking.capture.monai.hashes import Hashes

    used = version_with_persons(dvc_repo)
    folder = str(used.path / "series")
    named = Hashes().tell([folder], 10.0)[folder]
    assert identifiers.known([used]).files["series"] == named


def test_a_hundred_thousand_files_are_known_at_once() -> None:
    files = [
        File(f"patients/Quabad_{at:06}/{name}.nii.gz", f"{at:031x}{name == 'ct':d}")
        for at in range(50_000)
        for name in ("ct", "seg")
    ]
    used = UsedDataset(
        Path("/nowhere/views/ward/1.dir"),
        DataUsed("ward", "v1", "1.dir"),
        DatasetVersion("ward", "v1", "ward@v1", "1.dir", "ward", "", "", "", ""),
        Path("/nowhere"),
        files=files,
    )
    guard = Guard(known=identifiers.known([used]))
    assert guard.text("Quabad_000007/ct.nii.gz").text == f"{7:031x}1"
    assert guard.text("quabad_000007/seg.nii.gz").text == f"{7:031x}0"


def test_data_that_is_used_inside_a_block_is_known_from_then_on(
    dvc_repo: Callable[..., DvcRepository], mlops_home: Path
) -> None:
    used = version_with_persons(dvc_repo)
    with track("ward", offline=True) as run:
        run.note_dataset(used)
        run.log_param("case", "zeph quiddy")
        run.log_metric("dice/xoph_quemby_1", 0.5)
    (value,) = (r.value for r, _ in segments.read(run.folder) if isinstance(r, Param) and r.key == "case")
    assert value == "<name>"
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"quemby" in path.read_bytes()]


def test_a_secret_in_the_code_is_looked_for_in_everything_that_the_run_keeps(mlops_home: Path) -> None:
    source = "passphrase = 'hunter2'\ndb = 'postgresql://bob:hunter2@db/x'\nlr = 0.1\n"
    block = Block("secrets", params={"pw": "hunter2", "depth": 3}, offline=True, source=source)
    run = block.open()
    block.close(ValueError("no entry with hunter2"))
    records = [record for record, _ in segments.read(run.folder)]
    kept = {record.key: record.value for record in records if isinstance(record, Param)}
    texts = {r.name: (run.folder / r.file).read_text() for r in records if isinstance(r, Artifact)}
    assert {name: kept[name] for name in ("pw", "depth", "db", "lr")} == {
        "pw": "***",
        "depth": "3",
        "db": "postgresql://bob:***@db/x",
        "lr": "0.1",
    }
    assert "no entry with ***" in texts["traceback.txt"]
    assert [path for path in run.folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []
    assert "password" in run.gate.sentence() if run.gate else False


def test_names_of_checkpoints_and_what_mlflows_client_writes_besides_runs_are_screened(
    server: TrackingServer, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import torch

    monkeypatch.chdir(tmp_path)
    net = torch.nn.Linear(2, 2)
    with track(experiment) as run:
        torch.save(net.state_dict(), "Mueller_Anna_best.pth")
        torch.save(net.state_dict(), "fold1_9434765919.pt")
        client = mlflow.MlflowClient()
        mlflow.set_experiment_tag("owner", "patient 9434765919")
        client.create_registered_model(f"model 9434765919 {experiment}", description="of 9434765919")
    assert run.run_id
    files = {file["path"] for file in server.list_artifacts(run.run_id, "checkpoints")}
    assert len(files) == 3
    assert not [name for name in files if "9434765919" in name or "Mueller" in name]
    kept = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert b"9434765919" not in kept
    assert b"Mueller" not in kept
    there = server.get("experiments/get-by-name", {"experiment_name": experiment})["experiment"]
    assert "9434765919" not in str(there)
    models = server.get("registered-models/search", {"max_results": 100}).get("registered_models", [])
    assert [model["name"] for model in models if experiment in model["name"]]
    assert "9434765919" not in str(models)
