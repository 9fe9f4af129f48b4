"""How long a newcomer waits: building the demo project, and each training of the quickstart (goal: under 60 s each)."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Build and run the demo in an empty home, and print the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLOPS_LAB_HOME"] = str(Path(folder) / "home")
        from mlops_lab.connection import embedded, open_server
        from mlops_lab.demo import build_demo
        from mlops_lab.demo.execute import run_quickstart

        def silent(_: str) -> None:
            pass

        begin = time.perf_counter()
        project = build_demo(Path(folder) / "demo", report=silent)
        print(f"demo project built: {time.perf_counter() - begin:.1f} s (goal: under 60 s)")
        begin = time.perf_counter()
        server = embedded.start(report=silent)
        print(f"embedded MLflow server started: {time.perf_counter() - begin:.1f} s")
        try:
            os.environ["MLFLOW_TRACKING_URI"] = str(server.uri)
            begin = time.perf_counter()
            runs = run_quickstart(project, report=silent)
            print(f"quickstart notebook executed: {time.perf_counter() - begin:.1f} s")
            for run in runs:
                info = open_server().get_run(run["run_id"])["info"]
                seconds = (info["end_time"] - info["start_time"]) / 1000
                print(f"  training on {run['data'][0]['version']}: {seconds:.1f} s (goal: under 60 s)")
        finally:
            embedded.stop()


if __name__ == "__main__":
    main()
