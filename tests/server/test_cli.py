"""The command line as a person types it: results on standard output, errors as one sentence, never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_lab.connection.rest import TrackingServer

MLOPS_LAB = Path(sys.executable).with_name("mlops-lab")


def run(
    *arguments: str | Path, home: Path, server: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MLOPS_LAB_HOME": str(home)}
    if server:
        environment["MLFLOW_TRACKING_URI"] = server
    done = subprocess.run(
        [MLOPS_LAB, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=180
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a command that failed: the last line, below what it was doing; nothing on standard output."""
    assert done.returncode == 1
    assert done.stdout == ""
    *doing, line = done.stderr.splitlines()
    assert line.startswith("mlops-lab: ")
    assert not [other for other in doing if other.startswith("mlops-lab: ")]
    return line


@pytest.fixture
def two_runs(mlflow_server: str) -> list[str]:
    """Two finished runs with a metric each, made over REST."""
    client = TrackingServer(mlflow_server)
    experiment = client.ensure_experiment("command line")
    made = []
    for name, loss in (("first", 0.5), ("second", float("nan"))):
        run_id = client.create_run(experiment, start_time=1_700_000_000_000, run_name=name, tags={})["info"]["run_id"]
        point = {"key": "loss", "value": loss, "timestamp": 1_700_000_000_000, "step": 1}
        client.log_batch(run_id, metrics=[point], params=[{"key": "lr", "value": name}], tags=[])
        client.update_run(run_id, status="FINISHED", end_time=1_700_000_060_000)
        made.append(run_id)
    client.close()
    return made


def test_versions_are_listed_diffed_verified_and_used(demo_project: Path, mlops_home: Path) -> None:
    listed = result(run("datasets", "list", "--json", "--repo", demo_project, home=mlops_home))
    assert [version["spec"] for version in listed] == ["brain@v2.0.0", "brain@v1.0.0"]
    plain = run("datasets", "list", home=mlops_home, cwd=demo_project)
    assert [line.split()[0] for line in plain.stdout.splitlines()] == ["VERSION", "brain@v2.0.0", "brain@v1.0.0"]

    diff = result(run("datasets", "diff", "brain", "v1.0.0", "v2.0.0", "--json", home=mlops_home, cwd=demo_project))
    assert (len(diff["modified"]), diff["added"], diff["removed"]) == (12, [], [])
    assert all("label" in change["path"] for change in diff["modified"])

    used = run("datasets", "use", "brain@v1.0.0", home=mlops_home, cwd=demo_project)
    view = Path(used.stdout.strip())
    assert (view / "participants.tsv").is_file()
    assert result(run("datasets", "verify", "brain@v1.0.0", "--json", home=mlops_home, cwd=demo_project)) == {
        "spec": "brain@v1.0.0",
        "problems": [],
    }


def test_a_corrupt_file_is_named_and_not_used(demo_project: Path, mlops_home: Path) -> None:
    manifest = next(
        version["md5"]
        for version in result(run("datasets", "list", "--json", home=mlops_home, cwd=demo_project))
        if version["version"] == "v1.0.0"
    )
    cache = demo_project / ".dvc" / "cache" / "files" / "md5"
    listed = json.loads((cache / manifest[:2] / manifest[2:]).read_text())
    victim = next(entry for entry in listed if entry["relpath"].endswith("_label.nii.gz"))
    stored = cache / victim["md5"][:2] / victim["md5"][2:]
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(content)
    stored.chmod(0o444)

    verified = run("datasets", "verify", "brain@v1.0.0", home=mlops_home, cwd=demo_project)
    assert verified.returncode == 1
    assert victim["relpath"] in verified.stdout
    assert victim["relpath"] in refusal(run("datasets", "use", "brain@v1.0.0", home=mlops_home, cwd=demo_project))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("datasets", "use", "brain@v9"), "v2.0.0"),
        (("datasets", "use", "liver@v1"), "brain"),
        (("datasets", "diff", "brain", "v1.0.0", "v9"), "v9"),
        (("datasets", "list", "--repo", "no/such/folder"), "no/such/folder"),
        (("runs", "list"), "No MLflow server"),
        (("runs", "compare", "a", "b"), "No MLflow server"),
        (("demo", "--dir", "."), "not a finished demo project"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    demo_original: Path, mlops_home: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    place = demo_original
    if arguments[0] == "demo":
        (tmp_path / "thesis.docx").write_text("years of work")
        place = tmp_path
    assert says in refusal(run(*arguments, home=mlops_home, cwd=place))
    as_json = run(*arguments, "--json", home=mlops_home, cwd=place)
    assert as_json.returncode == 1
    assert says in json.loads(as_json.stderr)["message"] + json.loads(as_json.stderr)["hint"]


def test_a_folder_without_git_is_one_sentence(mlops_home: Path, tmp_path: Path) -> None:
    assert "git repository" in refusal(run("datasets", "list", home=mlops_home, cwd=tmp_path))


def test_runs_are_listed_and_compared_by_name(mlflow_server: str, two_runs: list[str], mlops_home: Path) -> None:
    page = result(run("runs", "list", "params.lr = 'second'", "--json", home=mlops_home, server=mlflow_server))
    assert page["runs"][0]["metrics"] == {"loss": "NaN"}
    compared = run("runs", "compare", two_runs[0][:12], two_runs[1], "--json", home=mlops_home, server=mlflow_server)
    document = result(compared)
    assert [one["name"] for one in document["runs"]] == ["first", "second"]
    assert document["metrics"][0]["values"] == [0.5, "NaN"]
    text = run("runs", "compare", *two_runs, home=mlops_home, server=mlflow_server).stdout
    assert "first" in text
    assert "NaN" in text
    alone = run("runs", "compare", two_runs[0], home=mlops_home, server=mlflow_server)
    assert "two" in refusal(alone)
    assert "nobody" in refusal(run("runs", "compare", "nobody", two_runs[0], home=mlops_home, server=mlflow_server))


def test_a_filter_that_mlflow_does_not_understand_is_one_sentence(mlflow_server: str, mlops_home: Path) -> None:
    assert "filter" in refusal(run("runs", "list", "metrics.loss !!", home=mlops_home, server=mlflow_server)).lower()


def test_a_port_that_is_taken_is_one_sentence(mlops_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert port in refusal(run("server", "start", "--port", port, home=mlops_home))


def test_a_wrong_command_line_shows_how_it_is_used(mlops_home: Path) -> None:
    for arguments in (["serve"], ["server", "start", "--port", "many"], ["datasets", "use"]):
        done = run(*arguments, home=mlops_home)
        assert done.returncode == 2
        assert "usage: mlops-lab" in done.stderr


def test_a_reader_that_stops_reading_is_no_error(demo_original: Path, mlops_home: Path) -> None:
    command = f"'{MLOPS_LAB}' datasets list --json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=demo_original, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
