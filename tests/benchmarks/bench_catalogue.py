"""How fast all versions of all datasets are listed: ours, the floor (``git log --raw``), the rival (DVC's brancher).

The repositories are generated with ``git fast-import``, and what ours and DVC find is compared before any figure is
printed. Budgets: 200 commits in 50 ms, a warm refresh in 5 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

OUTPUTS = 21
_RIVAL = """
import json, sys, time
from dvc.repo import Repo
begin = time.perf_counter()
found = set()
repo = Repo(".")
for revision in repo.brancher(all_commits=True, all_branches=True, all_tags=True, workspace=False):
    for out in repo.index.outs:
        found.add((out.fspath.rpartition("/")[2], out.hash_info.value))
print(json.dumps([time.perf_counter() - begin, sorted(found)]))
"""


def generate(target: Path, commits: int, *, lock: bool) -> None:
    """Write a history: each commit changes one output, every tenth has a tag, every hundredth a branch."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(target)], check=True)
    stream: list[bytes] = []
    hashes = [_hash(number, 0) for number in range(OUTPUTS)]
    for count in range(commits):
        changed = count % OUTPUTS
        hashes[changed] = _hash(changed, count)
        files = {".dvc/config": "", "train.py": f"# {count}\n"}
        if lock:
            files["dvc.lock"] = _lock(hashes)
            files["dvc.yaml"] = _pipeline()
        else:
            numbers = range(OUTPUTS) if count == 0 else [changed]
            files.update({f"set{number}.dvc": _definition(number, hashes[number]) for number in numbers})
        stamp = f"Ada Researcher <ada@example.org> {1_700_000_000 + 3600 * count} +0000"
        message = f"Change {count}"
        stream.append(f"commit refs/heads/main\ncommitter {stamp}\ndata {len(message)}\n{message}\n".encode())
        for name, text in files.items():
            data = text.encode()
            stream.append(f"M 100644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n")
        if count % 10 == 9:
            stream.append(f"reset refs/tags/set{changed}@v1.{count}.0\nfrom refs/heads/main\n\n".encode())
        if count % 100 == 99:
            stream.append(f"reset refs/heads/branch-{count}\nfrom refs/heads/main\n\n".encode())
    subprocess.run(["git", "fast-import", "--quiet"], cwd=target, input=b"".join(stream), check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=target, check=True)


def measure(call: Callable[[], object], times: int) -> float:
    """Give the fastest of several calls in milliseconds: what other programs steal is not ours to report."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return min(taken)


def compare(folder: Path, commits: int, *, lock: bool, rival: bool) -> None:
    """Print one row of the table."""
    from mlops_lab.datasets import catalogue, git, history

    repository = folder / f"{commits}-{'lock' if lock else 'dvc'}"
    generate(repository, commits, lock=lock)

    def cold() -> object:
        history._histories.clear()
        history._parsed_pipelines.clear()
        return catalogue.read_catalogue(repository)

    floor = measure(lambda: git.log(repository, history._PATHSPECS, with_head=True), 15)
    ours = measure(cold, 15)
    warm = measure(lambda: catalogue.read_catalogue(repository), 15)
    kind = "dvc.lock" if lock else ".dvc"
    row = f"{commits:>6} x {OUTPUTS} {kind:<9}{floor:>9.1f}{ours:>9.1f}{ours / floor:>8.1f}x{warm:>9.1f}"
    if rival:
        seconds, pairs = _rival(repository)
        found = catalogue.read_catalogue(repository)
        same = {(d.path, v.md5) for d in found.datasets for v in d.versions} == pairs
        row += f"{seconds * 1000:>11.0f}{seconds * 1000 / ours:>8.0f}x  {'same' if same else 'DIFFERENT'} versions"
    print(row, flush=True)


def main() -> None:
    """Print the table."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    print("milliseconds, best of 15; floor: git log --raw alone; rival: dvc.repo.Repo.brancher in a process of its own")
    print(f"{'repository':<21}{'floor':>9}{'ours':>9}{'ratio':>9}{'warm':>9}{'rival':>11}{'rival/ours':>11}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_SITE_CACHE_DIR"] = str(Path(folder) / "site")
        compare(Path(folder), 200, lock=False, rival=True)
        compare(Path(folder), 200, lock=True, rival=True)
        compare(Path(folder), 5000, lock=False, rival=False)


def _rival(repository: Path) -> tuple[float, set[tuple[str, str]]]:
    done = subprocess.run([sys.executable, "-c", _RIVAL], cwd=repository, capture_output=True, check=True)
    seconds, pairs = json.loads(done.stdout)
    return seconds, {(path, digest) for path, digest in pairs}


def _hash(number: int, count: int) -> str:
    return md5(f"{number} {count}".encode()).hexdigest() + ".dir"


def _definition(number: int, digest: str) -> str:
    return f"outs:\n- md5: {digest}\n  size: {number * 1000}\n  nfiles: 10\n  hash: md5\n  path: set{number}\n"


def _lock(hashes: list[str]) -> str:
    lines = ["schema: '2.0'", "stages:"]
    for number, digest in enumerate(hashes):
        lines += [f"  make{number}:", f"    cmd: python make.py {number}", "    outs:", f"    - path: set{number}"]
        lines += ["      hash: md5", f"      md5: {digest}", f"      size: {number * 1000}", "      nfiles: 10"]
    return "\n".join(lines) + "\n"


def _pipeline() -> str:
    stages = [f"  make{n}:\n    cmd: python make.py {n}\n    outs:\n    - set{n}" for n in range(OUTPUTS)]
    return "stages:\n" + "\n".join(stages) + "\n"


if __name__ == "__main__":
    main()
