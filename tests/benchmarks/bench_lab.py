"""What mlops_lab adds to JupyterLab: time to the server's start, and JavaScript to the first page.

Goals: at most 100 ms, and at most 60 KB gzipped. The floor of the first is the same server without the extension,
of the second an extension that is empty.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import mlops_lab

ROUNDS = 7
LABEXTENSION = Path(mlops_lab.__file__).parent / "labextension"

START = """
import sys, time
from jupyter_server.serverapp import ServerApp
import jupyterlab.labapp
begin = time.perf_counter()
app = ServerApp()
app.initialize(argv=["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={sys.argv[2]}",
    "--ServerApp.jpserver_extensions={'jupyterlab': True, 'mlops_lab': " + sys.argv[1] + "}"])
print("SECONDS", time.perf_counter() - begin, "mlops_lab.jupyter.server.app" in sys.modules)
import os; os._exit(0)
"""


def start_once(enabled: bool, folder: str) -> float:
    """Measure one server's initialisation, in seconds."""
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": folder, "JUPYTER_RUNTIME_DIR": folder, "MLOPS_LAB_HOME": folder}
    command = [sys.executable, "-c", START, str(enabled), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, loaded = done.stdout.split("SECONDS ")[1].split()
    assert loaded == str(enabled), done.stderr
    return float(seconds)


def first_load() -> list[tuple[str, int, int]]:
    """List the scripts that JupyterLab fetches at its start: name, bytes, gzipped bytes."""
    about = json.loads((LABEXTENSION / "package.json").read_text())["jupyterlab"]["_build"]
    entry = LABEXTENSION / about["load"]
    named = {path.name: path for path in (LABEXTENSION / "static").glob("*.js")}
    eager = [entry, *(named[name] for name in eager_chunks(entry, named))]
    return [(path.name, path.stat().st_size, len(gzip.compress(path.read_bytes()))) for path in eager]


def eager_chunks(entry: Path, named: dict[str, Path]) -> list[str]:
    """Find the chunks that hold the plugins and their style, which JupyterLab asks for at once."""
    exposed = re.search(r"moduleMap|\./(?:index|extension)[\s\S]*", entry.read_text())
    wanted = re.findall(r"\.e\((?:/\*.*?\*/)?[\"']?([\w./-]+)[\"']?\)", exposed.group(0) if exposed else "")
    return [name for name in named if name != entry.name and any(name.split(".")[0] == chunk for chunk in wanted)]


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as folder:
        start_once(True, folder)
        pairs = [(start_once(True, folder), start_once(False, folder)) for _ in range(ROUNDS)]
    ours, floor = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    extra = statistics.median(1000 * (a - b) for a, b in pairs)
    print(f"server start: with {ours:.0f} ms, without (floor) {floor:.0f} ms, ratio {ours / floor:.2f}")
    print(f"added: {extra:.0f} ms, median of {ROUNDS} pairs (goal: at most 100 ms)")
    files = first_load()
    for name, size, packed in files:
        print(f"  {name}: {size / 1000:.1f} KB, gzipped {packed / 1000:.1f} KB")
    print(f"first load: {sum(packed for *_, packed in files) / 1000:.1f} KB gzipped (goal: at most 60 KB)")


if __name__ == "__main__":
    main()
