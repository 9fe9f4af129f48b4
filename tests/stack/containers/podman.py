"""A podman of the tests' own: storage, networks and settings live in one folder, apart from the machine's podman."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
NEEDED = {
    "podman": "podman",
    "runc": "runc",
    "netavark": "netavark",
    "aardvark-dns": "aardvark-dns",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
}
PATH = os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), "/usr/sbin", "/sbin"])
ALSO_IN = ("/usr/lib/podman", "/usr/libexec/podman")


class PodmanError(RuntimeError):
    """A call of podman failed; the text is what podman said."""


def obstacle() -> str | None:
    """What keeps containers from running on this machine, as far as it can be told without starting one.

    Returns
    -------
    str or None
        What is missing and how to get it, or None.
    """
    path = os.pathsep.join([PATH, *ALSO_IN])
    absent = [package for program, package in NEEDED.items() if not shutil.which(program, path=path)]
    if absent:
        return f"apt-get install -y --no-install-recommends {' '.join(absent)}"
    if os.geteuid() != 0:
        return "the tests build images from local roots, which needs root: run them as root in a machine of your own"
    return None


class Podman:
    """Calls podman with storage and settings below one folder.

    Parameters
    ----------
    home
        That folder. It keeps the images between test sessions.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.program = shutil.which("podman", path=PATH) or "podman"
        home.mkdir(parents=True, exist_ok=True)
        settings = Template((HERE / "containers.conf").read_text()).substitute(home=home)
        (home / "containers.conf").write_text(settings)
        (home / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{home}/storage"\nrunroot = "{home}/run"\n'
        )
        # No image may come from anywhere but the local roots.
        (home / "registries.conf").write_text("unqualified-search-registries = []\n")

    @property
    def environment(self) -> dict[str, str]:
        """What has to be in the environment of a program that calls this podman, such as podman-compose."""
        return {
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.home / "registries.conf"),
            # Without systemd nobody runs the health checks by the clock: whoever waits for one runs it.
            "DISABLE_HC_SYSTEMD": "true",
            # netavark looks for iptables, which is not on the path of everybody.
            "PATH": PATH,
        }

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """One call of podman, whatever its exit status."""
        return subprocess.run(
            [self.program, *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def __call__(self, *arguments: str, timeout: float = 60) -> str:
        """One call of podman that has to succeed.

        Returns
        -------
        str
            What it printed.

        Raises
        ------
        PodmanError
            With the last lines of what podman said.
        """
        done = self.run(*arguments, timeout=timeout)
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise PodmanError(f"podman {' '.join(arguments)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def has_image(self, name: str) -> bool:
        """Whether the image is in the storage."""
        return self.run("image", "exists", name).returncode == 0

    def build(
        self,
        tag: str,
        dockerfile: Path,
        context: Path,
        *,
        arguments: Mapping[str, str] | None = None,
        volumes: Iterable[str] = (),
    ) -> None:
        """Build an image; unchanged layers come from the storage."""
        options = [f"--volume={volume}" for volume in volumes]
        options += [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        # Docker's format: the other one has no health checks and no SHELL.
        options += ["--format=docker", "--network=host", "--pull=never", f"--tag={tag}", f"--file={dockerfile}"]
        self("build", *options, str(context), timeout=900)

    def clear(self) -> None:
        """Remove every container, pod and network of this podman, and layers that no image has used for a week."""
        self.run("rm", "--all", "--force", "--time=0", timeout=120)
        self.run("pod", "rm", "--all", "--force", timeout=120)
        self.run("network", "prune", "--force")
        self.run("image", "prune", "--force", "--filter=until=168h")
