"""What mlops_lab adds to JupyterLab: time to the server's start, and JavaScript to the first page.

Goals: at most 100 ms, and at most 60 KB gzipped. The floor of the first is the same server without the extension. The
second is counted in a real browser, as what it fetches from our extension until JupyterLab has settled, panel closed.
"""

from __future__ import annotations

import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
SETTLED = 8_000
"""Milliseconds after the shell appears in which late scripts still count."""

START = """
import os, sys, time
from jupyter_server.serverapp import ServerApp
import jupyterlab.labapp
begin = time.perf_counter()
app = ServerApp()
app.initialize(argv=[
    "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
    f"--ServerApp.root_dir={sys.argv[2]}",
    "--ServerApp.jpserver_extensions={'jupyterlab': True, 'mlops_lab': " + sys.argv[1] + "}",
])
print("SECONDS", time.perf_counter() - begin, "mlops_lab.jupyter.server.app" in sys.modules, flush=True)
os._exit(0)
"""


def start_once(enabled: bool, folder: str) -> float:
    """Measure one server's initialisation, in seconds."""
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": folder, "JUPYTER_RUNTIME_DIR": folder, "MLOPS_LAB_HOME": folder}
    command = [sys.executable, "-c", START, str(enabled), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, loaded = done.stdout.split("SECONDS ")[1].split()
    if loaded != str(enabled):
        raise SystemExit(f"The extension's state is not the one measured:\n{done.stderr}")
    return float(seconds)


def first_load(folder: str) -> list[tuple[str, int, int]]:
    """Open JupyterLab in Chromium; list our scripts that it fetched: name, bytes, gzipped bytes."""
    from playwright.sync_api import Response, sync_playwright

    from tests.browser.pages import CHROMIUM_FLAGS
    from tests.jupyter_servers import launch_jupyter

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    server = launch_jupyter(Path(folder), home=Path(folder) / "home", own=Path(folder) / "jupyter")
    fetched: dict[str, bytes] = {}
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            page = browser.new_page()

            def keep(response: Response) -> None:
                address = response.url.partition("?")[0]
                if "/extensions/mlops-lab/" in address and address.endswith(".js"):
                    fetched[address.rpartition("/")[2]] = response.body()

            page.on("response", keep)
            page.goto(f"{server.url}lab?token={server.token}")
            page.locator(".jp-LabShell").wait_for(timeout=60_000)
            page.wait_for_timeout(SETTLED)
            browser.close()
    finally:
        server.stop()
    return [(name, len(body), len(gzip.compress(body))) for name, body in fetched.items()]


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as folder:
        start_once(True, folder)
        pairs = [(start_once(True, folder), start_once(False, folder)) for _ in range(ROUNDS)]
    ours, floor = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    extra = statistics.median(1000 * (a - b) for a, b in pairs)
    print(f"server start: with {ours:.0f} ms, without (floor) {floor:.0f} ms, ratio {ours / floor:.2f}")
    print(f"added: {extra:.0f} ms, median of {ROUNDS} pairs (goal: at most 100 ms)")
    with tempfile.TemporaryDirectory() as folder:
        files = first_load(folder)
    if not files:
        raise SystemExit("JupyterLab fetched nothing of ours: is the front end built? Run make test once.")
    for name, size, packed in files:
        print(f"  {name}: {size / 1000:.1f} KB, gzipped {packed / 1000:.1f} KB")
    print(f"first load: {sum(packed for *_, packed in files) / 1000:.1f} KB gzipped (goal: at most 60 KB)")


if __name__ == "__main__":
    main()
