"""Can the notebook's kernel run our cells? Asked of the kernel's own interpreter, which is often not the server's."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import msgspec
from jupyter_client.kernelspec import KernelSpec, NoSuchKernel
from tornado.web import authenticated

from .base import BadRequest, LabHandler

NEEDED = ("mlops_lab", "mlflow", "dvc", "torch", "monai", "ignite")
"""What a training cell imports."""
OLDEST_PYTHON = (3, 11)
TIME_LIMIT = 20.0
"""Seconds for an interpreter to answer; a cold network home can take several."""

_PROBE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import importlib.util as util, json
try:
    from importlib.metadata import version
    found = version("mlops-lab")
except Exception:
    found = None
missing = [name for name in {needed!r} if util.find_spec(name) is None]
print(json.dumps({{"python": sys.version_info[:2], "version": found, "missing": missing}}))
"""
# The empty entry of sys.path is the server's own folder, where a kernel does not run.


class KernelEnvironment(msgspec.Struct):
    """Whether the environment behind a kernelspec has what a training cell needs."""

    kernel: str
    ready: bool
    version: str | None = None
    """mlops-lab's version there."""
    missing: list[str] = []
    message: str | None = None
    """What is wrong, one sentence; None when ready."""
    hint: str | None = None


class EnvironmentHandler(LabHandler):
    """``mlops-lab/environment?kernel=NAME``."""

    @authenticated
    async def get(self) -> None:
        name = self.get_query_argument("kernel")
        try:
            spec = self.kernel_spec_manager.get_kernel_spec(name)
        except NoSuchKernel:
            raise BadRequest(
                f"There is no kernel '{name}' on this Jupyter server.", "Choose another kernel for the notebook."
            ) from None
        self.answer(await inspect_kernel(name, spec))


def interpreter_of(spec: KernelSpec) -> str:
    """Give the program behind `spec`; like jupyter_client, read a bare "python" as the server's own."""
    program = spec.argv[0] if spec.argv else ""
    own = {"python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info[:2])}
    return sys.executable if program in own else program


async def inspect_kernel(name: str, spec: KernelSpec) -> KernelEnvironment:
    """Ask the interpreter of `spec` what it can import, without importing any of it."""
    interpreter = interpreter_of(spec)
    if spec.language.lower() != "python":
        return KernelEnvironment(
            kernel=name,
            ready=False,
            message=f"The kernel '{spec.display_name}' does not run Python.",
            hint="Choose a Python kernel for this notebook.",
        )
    try:
        probe = await asyncio.create_subprocess_exec(
            interpreter,
            "-c",
            _PROBE.format(needed=NEEDED),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **spec.env},
            start_new_session=True,
        )
    except OSError:
        return _unusable(name, spec)
    try:
        output, _ = await asyncio.wait_for(probe.communicate(), TIME_LIMIT)
        found = json.loads(output)
    except TimeoutError:
        probe.kill()
        await probe.wait()
        return _unusable(name, spec)
    except ValueError:
        return _unusable(name, spec)
    python = tuple(found["python"])
    if python < OLDEST_PYTHON:
        return KernelEnvironment(
            kernel=name,
            ready=False,
            version=found["version"],
            message=f"The kernel '{spec.display_name}' runs Python {python[0]}.{python[1]}; mlops_lab needs 3.11.",
            hint="Choose a kernel with a newer Python.",
        )
    return _verdict(name, spec, found["version"], found["missing"])


def _verdict(name: str, spec: KernelSpec, version: str | None, missing: list[str]) -> KernelEnvironment:
    if not missing:
        return KernelEnvironment(kernel=name, ready=True, version=version)
    listed = ", ".join(missing)
    return KernelEnvironment(
        kernel=name,
        ready=False,
        version=version,
        missing=missing,
        message=f"The kernel '{spec.display_name}' cannot run training cells: its environment lacks {listed}.",
        hint='Run  %pip install "mlops-lab[monai]"  in the notebook and restart its kernel, or choose another kernel.',
    )


def _unusable(name: str, spec: KernelSpec) -> KernelEnvironment:
    return KernelEnvironment(
        kernel=name,
        ready=False,
        message=f"The kernel '{spec.display_name}' did not answer: its Python cannot be started.",
        hint="Choose another kernel, or install this one again.",
    )
