"""What the production server's door costs: nginx, TLS and accounts against bare MLflow on the same database.

Printed: requests per second and p99 of log-batch (50 metrics) and runs/search (100 of 500 runs), with 1 and 8 clients;
the memory of each part; a 2 GB artifact up and down, with the peak memory of nginx and MLflow, which must not grow with
it. The rival is `mlflow server` without accounts and without nginx, in the same run. MariaDB stands in for MySQL and
SeaweedFS for MinIO.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.jupyter_servers import free_port
from tests.production_stack import ProductionStack
from tests.stack.services import dies_with_us

RUNS = 500
PAGE = 100
METRICS = 50
CLIENTS = (1, 8)
SECONDS = 3.0
ROUNDS = 4
ARTIFACT = 2_000_000_000
CHUNK = 1 << 20
PARTS = {"nginx": "nginx", "mlflow": "MLflow", "db": "database", "objects": "object store"}


@dataclass
class Door:
    """One of the two servers as its clients reach it: over TLS with a login, or bare."""

    name: str
    port: int
    account: tuple[str, str] | None = None
    trust: ssl.SSLContext | None = None

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection that stays open, as MLflow's client keeps its own."""
        if self.trust:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=120, context=self.trust
            )
        else:
            connection = http.client.HTTPConnection("localhost", self.port, timeout=120)
        connection.connect()
        # http.client sends head and body apart; without this the second waits for the first one's acknowledgement.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, connection: http.client.HTTPConnection, call: str, body: bytes) -> bytes:
        """Send one request and read its answer."""
        headers = {"Content-Type": "application/json"}
        if self.account:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.account).encode()).decode()
        connection.request("POST", f"/api/2.0/mlflow/{call}", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name} answered {call} with {answer.status}: {content[:300]!r}")
        return content

    def call(self, call: str, **body: Any) -> dict[str, Any]:
        """Ask once, on a connection of its own."""
        connection = self.connect()
        try:
            return dict(json.loads(self.ask(connection, call, json.dumps(body).encode())))
        finally:
            connection.close()


@contextmanager
def bare_server(stack: ProductionStack, folder: Path) -> Iterator[Door]:
    """Run MLflow as its quickstart does, on the production server's own database."""
    from mlops_server.settings import Database

    database = Database.read({**stack.env, "MYSQL_ADDRESS": f"127.0.0.1:{stack.port('db:3306')}"})
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", stack.env["MLFLOW_WORKERS"], "--artifacts-destination", str(folder / "bare-artifacts")]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": database.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "bare.log").open("wb") as log:
        child = subprocess.Popen(dies_with_us(command), env=environment, cwd=folder, stdout=log, stderr=log)
    door = Door("bare MLflow", port)
    try:
        limit = time.monotonic() + 60
        while True:
            try:
                door.call("experiments/search", max_results=1)
                break
            except OSError:
                if child.poll() is not None or time.monotonic() > limit:
                    raise SystemExit((folder / "bare.log").read_text()[-2000:]) from None
                time.sleep(0.1)
        yield door
    finally:
        child.terminate()
        child.wait(30)


def make_runs(door: Door, experiment: str) -> list[str]:
    """Fill an experiment as a study has it after some weeks: every run with parameters, metrics and tags."""

    def make(number: int) -> str:
        info = door.call("runs/create", experiment_id=experiment, run_name=f"run-{number}", start_time=number)["run"]
        run = str(info["info"]["run_id"])
        door.call(
            "runs/log-batch",
            run_id=run,
            metrics=[{"key": f"metric-{n}", "value": n / 7, "step": 1, "timestamp": 1} for n in range(10)],
            params=[{"key": f"param-{n}", "value": str(number)} for n in range(10)],
            tags=[{"key": "study", "value": "bench"}],
        )
        return run

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(make, range(RUNS)))


_steps = iter(range(1, 1 << 40))


def log_batch(run: str) -> bytes:
    """Give the body of a call that logs 50 metrics of one new step."""
    step = next(_steps)
    metrics = [{"key": f"loss-{n}", "value": step / (n + 1), "step": step, "timestamp": step} for n in range(METRICS)]
    return json.dumps({"run_id": run, "metrics": metrics}).encode()


def load(door: Door, call: str, clients: int, experiment: str, runs: list[str]) -> tuple[list[float], float]:
    """Let so many clients ask without pause; give each request's milliseconds, and the seconds that it took."""
    search = json.dumps({"experiment_ids": [experiment], "max_results": PAGE}).encode()
    ready = threading.Barrier(clients + 1)
    times: list[list[float]] = [[] for _ in range(clients)]

    def work(number: int) -> None:
        connection = door.connect()
        try:
            for _ in range(3):  # warm-up
                door.ask(connection, call, search if call == "runs/search" else log_batch(runs[number]))
        except BaseException:
            ready.abort()
            raise
        connection.close()
        ready.wait()
        # A new one: MLflow closes a connection that waited five seconds for the slowest of the others.
        connection = door.connect()
        end = time.perf_counter() + SECONDS
        while (begin := time.perf_counter()) < end:
            body = search if call == "runs/search" else log_batch(runs[number])
            begin = time.perf_counter()
            answer = door.ask(connection, call, body)
            times[number].append((time.perf_counter() - begin) * 1000)
        if call == "runs/search" and len(json.loads(answer)["runs"]) != PAGE:
            raise SystemExit(f"{door.name} did not find {PAGE} runs")
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        done = [pool.submit(work, number) for number in range(clients)]
        with suppress(threading.BrokenBarrierError):  # The result of the client that failed says why.
            ready.wait(120)
        begin = time.perf_counter()
        for one in done:
            one.result()
    return [value for each in times for value in each], time.perf_counter() - begin


def compare(ours: Door, bare: Door, experiment: str, runs: list[str]) -> None:
    """Print requests per second and p99 of both, asked in turns."""
    print(
        f"{'requests':34} {'clients':>7} {'ours/s':>8} {'bare/s':>8} {'ratio':>6} {'ours p99':>9} {'bare p99':>9}  (ms)"
    )
    for call, name in (("runs/log-batch", f"{METRICS} metrics"), ("runs/search", f"{PAGE} of {RUNS} runs")):
        for clients in CLIENTS:
            times: dict[str, list[float]] = {ours.name: [], bare.name: []}
            seconds = dict.fromkeys(times, 0.0)
            for turn in range(ROUNDS):
                # Who asks second finds the database warmer: the order changes with every turn.
                for door in (ours, bare) if turn % 2 == 0 else (bare, ours):
                    measured, took = load(door, call, clients, experiment, runs)
                    times[door.name] += measured
                    seconds[door.name] += took
            rates = {door: len(times[door]) / seconds[door] for door in times}
            slow = {door: statistics.quantiles(times[door], n=100)[98] for door in times}
            print(
                f"{f'{call}, {name}':34} {clients:7} {rates[ours.name]:8.1f} {rates[bare.name]:8.1f} "
                f"{rates[ours.name] / rates[bare.name]:6.2f} {slow[ours.name]:9.1f} {slow[bare.name]:9.1f}",
                flush=True,
            )


def memory(stack: ProductionStack, service: str) -> float:
    """Give the proportional memory (PSS) of a service with all its children, in MB."""
    state = json.loads((stack.folder / ".native" / "state.json").read_text())
    total = 0
    waiting = [Path("/proc") / str(state["services"][service]["pid"])]
    while waiting:
        process = waiting.pop()
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
            waiting += [process.parent / pid for task in process.glob("task/*/children") for pid in _words(task)]
        except OSError:  # It has just ended.
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def _words(file: Path) -> list[str]:
    return file.read_text().split()


def on_disk(stack: ProductionStack) -> float:
    """Give the size of what MLflow keeps of artifacts that pass through it, in MB."""
    state = json.loads((stack.folder / ".native" / "state.json").read_text())
    places = [Path(state["temporary"]), *(place for place in (stack.folder / "data").iterdir())]
    total = 0
    for place in places:
        if place.name in ("db", "objects"):
            continue
        for file in place.rglob("*"):
            try:
                total += file.lstat().st_blocks * 512
            except OSError:
                continue
    return total / 1e6


@dataclass
class Watch:
    """Memory of MLflow and of nginx while something happens: before, and the highest that was seen."""

    stack: ProductionStack
    before: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def _look(self) -> dict[str, float]:
        return {**{name: memory(self.stack, name) for name in ("mlflow", "nginx")}, "disk": on_disk(self.stack)}

    def __enter__(self) -> Watch:
        self.before = self._look()
        self.peak = dict(self.before)
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._watch)
        self._looker.start()
        self._begin = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._begin
        self._over.set()
        self._looker.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            for name, value in self._look().items():
                self.peak[name] = max(self.peak[name], value)


def large_artifact(stack: ProductionStack, account: tuple[str, str], artifacts: str) -> None:
    """Send 2 GB up and fetch them again; print memory and time, and compare the checksums."""
    block = os.urandom(CHUNK)
    sent, came = hashlib.sha256(), hashlib.sha256()

    def content() -> Iterator[bytes]:
        for start in range(0, ARTIFACT, CHUNK):
            chunk = (start.to_bytes(8, "big") + block[8:])[: ARTIFACT - start]
            sent.update(chunk)
            yield chunk

    client = stack.client(account, timeout=600.0)
    path = f"/api/2.0/mlflow-artifacts/artifacts/{artifacts}/large.bin"
    with Watch(stack) as up:
        client.put(path, content=content(), headers={"Content-Length": str(ARTIFACT)}).raise_for_status()
    with Watch(stack) as down, client.stream("GET", path) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw(CHUNK):
            came.update(chunk)
    print(f"\n{f'artifact of {ARTIFACT / 1e9:.0f} GB, MB':34} {'before':>8} {'peak':>8} {'added':>8}")
    for direction, watch in (("up", up), ("down", down)):
        for name, what in (("mlflow", "MLflow, memory"), ("nginx", "nginx, memory"), ("disk", "temporary files")):
            before, peak = watch.before[name], watch.peak[name]
            print(f"{f'{direction}: {what}':34} {before:8.0f} {peak:8.0f} {peak - before:8.0f}")
        print(f"{direction}: {watch.seconds:.1f} s, {ARTIFACT / 1e6 / watch.seconds:.0f} MB/s")
    if sent.digest() != came.digest():
        raise SystemExit("The artifact came back changed: the checksums differ.")
    print(f"sha256 up and down: equal ({came.hexdigest()[:16]}...)")


def main() -> None:
    """Print the three tables."""
    with tempfile.TemporaryDirectory(prefix="bench-server-") as place:
        folder = Path(place)
        stack = ProductionStack.make(folder / "mlflow_server")
        try:
            stack.start()
            print(f"started in {stack.start_seconds:.1f} s, {stack.env['MLFLOW_WORKERS']} workers each")
            account = "bench", stack.add_user("bench")
            trust = ssl.create_default_context(cafile=str(stack.ca))
            ours = Door("nginx + TLS + accounts", int(stack.env["MLFLOW_PORT"]), account, trust)
            experiment = ours.call("experiments/create", name="bench")["experiment_id"]
            with bare_server(stack, folder) as bare:
                runs = make_runs(bare, experiment)
                compare(ours, bare, experiment, runs)
            print(f"\n{'memory after that (PSS), MB':34}")
            for service, name in PARTS.items():
                print(f"{name:34} {memory(stack, service):8.0f}")
            info = ours.call("runs/create", experiment_id=experiment)["run"]["info"]
            large_artifact(stack, account, str(info["artifact_uri"]).partition(":/")[2].lstrip("/"))
        finally:
            stack.end()


if __name__ == "__main__":
    main()
