"""What can be said about the production server's files without starting anything.

That nginx takes its rendered templates is said in test_nginx_start.py, which runs ``nginx -t`` on them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "mlflow_server"
COMPOSE = (SERVER / "compose.yaml").read_text("utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<required>:\?[^}]*)?")
EXAMPLE_LINE = re.compile(r"^(?P<comment># )?(?P<name>[A-Z_]+)=(?P<value>.*)$", re.MULTILINE)
EXAMPLES = {found["name"]: found for found in EXAMPLE_LINE.finditer((SERVER / ".env.example").read_text("utf-8"))}


def run(program: str, *arguments: str, how: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a checker of the test environment or of this machine."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(program, path=path)
    if not found:
        missing(program, how)
    assert found
    clean = {name: value for name, value in os.environ.items() if name not in EXAMPLES}
    return subprocess.run([found, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False)


def files() -> list[Path]:
    """Every file of the project that git knows or would add."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", how="apt install git")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# The compose file


def test_the_compose_file_follows_the_specification() -> None:
    done = run(
        *("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(SERVER / "compose.yaml")),
        how='pip install ".[test]"',
    )
    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned_by_tag_and_digest_except_our_own() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    ours = {name for name, image in images.items() if image.startswith("${MLFLOW_IMAGE:-mlops-lab/mlflow-server:")}
    assert ours == {"check", "migrate", "seed", "mlflow"}
    base = {SERVICES[name]["build"]["args"]["PYTHON_IMAGE"] for name in ours}
    assert len(base) == 1
    for image in [*base, *(image for name, image in images.items() if name not in ours)]:
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}\}", image), image


def test_the_image_of_mlflow_has_the_version_that_is_locked() -> None:
    [version] = re.findall(r"mlops-lab/mlflow-server:([\d.]+)", COMPOSE)
    locked = (SERVER / "mlflow" / "requirements.txt").read_text("utf-8")
    assert re.search(rf"^mlflow=={re.escape(version)}\b", locked, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].startswith("${MLOPS_UID:?")
    for right in (
        "privileged",
        "cap_add",
        "devices",
        "pid",
        "ipc",
        "network_mode",
        "userns_mode",
        "env_file",
        "extends",
    ):
        assert right not in service, right
    for volume in service.get("volumes", []):
        assert isinstance(volume, str)
        assert "docker.sock" not in volume
        assert volume.endswith(":ro") or volume.startswith("${MLOPS_DATA:-./data}/"), volume
    assert service["logging"]["options"]["max-size"], "a log without an end fills the disk"


def test_only_nginx_has_a_door_and_nothing_behind_it_has_a_way_out() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    for name, service in SERVICES.items():
        assert sorted(service["networks"]) == (["backend", "frontend"] if name == "nginx" else ["backend"]), name
    assert yaml.safe_load(COMPOSE)["networks"]["backend"] == {"internal": True}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_that_stays_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["healthcheck"]["start_period"]


@pytest.mark.parametrize("client", ["mcli", "mc"])
def test_the_object_stores_probe_ends_although_its_client_does_not(client: str, tmp_path: Path) -> None:
    """MinIO's client asks again and again until the store is ready; images have it under one of two names."""
    kind, words = SERVICES["objects"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    for program in ("sh", "sleep", "timeout"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    for text, well in (("exec sleep 60", False), ('[ "$*" = "ready local" ]', True)):
        (tmp_path / client).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / client).chmod(0o755)
        done = subprocess.run(["sh", "-c", words], env={"PATH": str(tmp_path)}, timeout=30, check=False)
        assert (done.returncode == 0) is well


def test_an_artifact_passes_through_mlflow_on_disk_and_not_in_memory() -> None:
    """MLflow keeps every artifact whole in a temporary file on its way, and the container's /tmp is memory."""
    mlflow = SERVICES["mlflow"]
    folder = mlflow["environment"]["MLFLOW_SCRATCH"]
    assert any(volume.endswith(f":{folder}") for volume in mlflow["volumes"])
    assert folder not in [entry.partition(":")[0] for entry in mlflow["tmpfs"]]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_keeps_in_memory_has_an_end(name: str) -> None:
    """Without a size, a container's folder in memory takes half of the machine's."""
    assert SERVICES[name]["tmpfs"]
    for entry in SERVICES[name]["tmpfs"]:
        assert re.fullmatch(r"/[\w/]+:size=\d+m", entry), entry


# Its variables


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {found["name"] for found in VARIABLE.finditer(COMPOSE)}
    assert set(EXAMPLES) == used


def test_a_required_variable_begins_with_change_me_and_the_others_have_their_default() -> None:
    required = {found["name"] for found in VARIABLE.finditer(COMPOSE) if found["required"]}
    assert required == {name for name, line in EXAMPLES.items() if line["value"].startswith("change-me")}
    for found in VARIABLE.finditer(COMPOSE):
        name = found["name"]
        if found["required"]:
            assert found["required"].startswith(f":?{name} is not set, run ./mlops-server init"), name
            assert EXAMPLES[name]["comment"] is None
        elif EXAMPLES[name]["comment"] is None:
            assert f"${{{name}:-{EXAMPLES[name]['value']}}}" in COMPOSE, name


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A copy of the server's folder whose .env has a value everywhere."""
    folder = tmp_path / "server"
    shutil.copytree(SERVER, folder, ignore=shutil.ignore_patterns(".env", "data", "tls", "backups"))
    (folder / ".env").write_text((SERVER / ".env.example").read_text("utf-8").replace("change-me", "filled"), "utf-8")
    return folder


def test_a_compose_engine_understands_it(filled: Path) -> None:
    done = run("podman-compose", "config", how='pip install ".[test]"', folder=filled)
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)["services"]
    assert set(understood) == set(SERVICES)
    assert understood["nginx"]["ports"] == ["0.0.0.0:85:8085", "0.0.0.0:8002:8002"]
    assert understood["db"]["environment"]["MYSQL_PASSWORD"] == "filled-password"


@pytest.mark.parametrize("name", [name for name, line in EXAMPLES.items() if line["value"].startswith("change-me")])
@pytest.mark.parametrize("value", ["", None])
def test_a_compose_engine_names_the_variable_that_is_missing(filled: Path, name: str, value: str | None) -> None:
    lines = (filled / ".env").read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(f"{name}=")]
    (filled / ".env").write_text("\n".join(kept if value is None else [*kept, f"{name}={value}"]), "utf-8")
    done = run("podman-compose", "config", how='pip install ".[test]"', folder=filled)
    assert done.returncode != 0
    assert f"{name} is not set, run ./mlops-server init" in done.stderr


# Its scripts and images


def test_every_dockerfile_is_clean() -> None:
    found = [file for file in files() if file.name == "Dockerfile" or file.suffix == ".Dockerfile"]
    assert SERVER / "mlflow" / "Dockerfile" in found
    for file in found:
        # Images of the tests build on one made on the spot, and take what the distribution has on that day.
        relaxed = ["--ignore", "DL3006", "--ignore", "DL3008"] if "tests" in file.relative_to(ROOT).parts else []
        done = run("hadolint", "--no-color", *relaxed, str(file), how='pip install ".[test]"')
        assert done.returncode == 0, done.stdout


def test_every_shell_script_is_clean() -> None:
    found = [file for file in files() if file.suffix == ".sh" or is_shell(file)]
    names = {str(file.relative_to(ROOT)) for file in found}
    assert {".ci/run", "mlflow_server/nginx/start.sh", "mlflow_server/db/dump.sh", "binder/start"} <= names
    done = run("shellcheck", "--external-sources", *map(str, found), how="apt install shellcheck")
    assert done.returncode == 0, done.stdout


def is_shell(file: Path) -> bool:
    """Tell whether the first line of a file asks for a shell."""
    with file.open("rb") as content:
        return re.match(rb"#!.*\b(ba|da)?sh\b", content.readline(80)) is not None


def test_what_the_compose_file_runs_is_there() -> None:
    """A script that compose.yaml names exists in the folder that it mounts."""
    inside = {"/opt/mlops/nginx": SERVER / "nginx", "/opt/mlops/db": SERVER / "db"}
    named = set(re.findall(r"/opt/mlops/(?:nginx|db)/[\w.-]+\.sh", COMPOSE))
    assert len(named) >= 3
    for script in named:
        place, _, name = script.rpartition("/")
        assert (inside[place] / name).is_file(), script
