"""Processes that run a program each and may be killed at any moment; what they import is imported once for all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from importlib import import_module


class Nursery:
    """Starts one process after the other, in the environment of the moment."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, program: str) -> int:
        """Run `program` in a process of its own and give its pid."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.faults.nursery"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        environment = {name: value for name, value in os.environ.items() if name.startswith(("ML", "PYTEST"))}
        self._process.stdin.write(json.dumps({"program": program, "environment": environment}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Wait for the process that was started last; gives its exit code, negative for a signal."""
        return self._answer()

    def close(self) -> None:
        """End what is left."""
        if self._process is not None:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.close()
            self._process.wait(30)
            self._process.stdout.close()

    def _answer(self) -> int:
        assert self._process
        assert self._process.stdout
        return int(self._process.stdout.readline())


def main() -> None:
    """Fork a child for every line, and tell its pid and, when it is over, its exit code."""
    for name in ("torch", "httpx", "mlops_lab.tracking.block", "mlops_lab.connection.transport"):
        import_module(name)
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.update(asked["environment"])
            try:
                exec(compile(asked["program"], "program", "exec"), {"__name__": "__main__"})
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, file=said)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=said)


def kill(pid: int) -> None:
    """Kill a process as `kill -9` does; harmless when it is over."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
