"""Definition files are read fast where DVC wrote them, and rightly where somebody else did."""

from __future__ import annotations

import pytest

from mlops_lab.datasets import definitions, gto
from mlops_lab.datasets.definitions import MAX_BYTES, Definition, parse, parse_pipeline

A, B = "a" * 32, "b" * 32

LOCK = f"""schema: '2.0'
stages:
  prepare@brain:
    cmd: |
      python prepare.py
      outs:
      - path: not/this
    deps:
    - path: raw
      hash: md5
      md5: {B}.dir
      size: 3
      nfiles: 1
    params:
      params.yaml:
        size: 3
    outs:
    - path: data/out one
      hash: md5
      md5: {A}.dir
      size: 12
      nfiles: 4
    - path: data/table.csv
      hash: md5
      md5: {B}
      size: 7
  train:
    cmd: python train.py
"""

DVC = f"""deps:
- path: raw
  repo:
    url: https://example.org/registry
    rev_lock: 0123
outs:
- md5: {A}.dir
  size: 12
  nfiles: 4
  hash: md5
  path: brain
frozen: true
meta:
  outs: none
"""


@pytest.mark.parametrize(("text", "path", "outputs"), [(LOCK, "sub/dvc.lock", 2), (DVC, "sub/brain.dvc", 1)])
def test_the_fast_reading_equals_the_parsers(
    text: str, path: str, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real = definitions._load

    def load(source: str) -> object:
        calls.append(source)
        return real(source)

    monkeypatch.setattr(definitions, "_load", load)
    fast = parse(text.encode(), path)
    assert calls == [], "DVC's own layout needs no YAML parser"
    monkeypatch.setattr(definitions, "_scan", lambda *_: None)
    slow = parse(text.encode(), path)
    assert len(calls) == 1
    assert len(fast.outputs) == outputs
    assert fast.outputs == slow.outputs
    assert next(output.path for output in fast.outputs).startswith("sub/")


@pytest.mark.parametrize(
    "text",
    [
        f"outs: [{{md5: {A}, hash: md5, path: x}}]\n",
        f"outs:\n  - md5: {A}\n    hash: md5\n    path: x\n",
        f'outs:\n- "md5": "{A}"\n  hash: md5\n  path: "x"\n',
        f"outs:\n- path: ./x\n  md5: {A} # the hash\n  hash: md5\n",
        f"outs:\n- path:\n    x\n  md5: {A}\n  hash: md5\n",
        f"wdir: .\nouts:\n- md5: {A}\n  hash: md5\n  path: x\n",
        f"outs:\r\n- md5: {A}\r\n  hash: md5\r\n  path: x\r\n",
    ],
)
def test_every_way_to_write_the_same_yaml_means_the_same(text: str) -> None:
    (output,) = parse(text.encode(), "x.dvc").outputs
    assert (output.path, output.md5, output.legacy) == ("x", A, False)


def test_a_working_folder_moves_outputs() -> None:
    text = f"wdir: ../data\nouts:\n- md5: {A}\n  hash: md5\n  path: x\n"
    assert parse(text.encode(), "definitions/x.dvc").outputs[0].path == "data/x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"outs: [",
        b"- a\n- b\n",
        b"outs: 3\n",
        b"x" * (MAX_BYTES + 1),
        b"outs:\n- path: x\n",
        b"a: *b\n",
    ],
)
def test_what_is_no_definition_has_no_outputs(data: bytes) -> None:
    assert parse(data, "x.dvc").outputs == ()


def test_a_yaml_bomb_is_not_unfolded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    assert parse("\n".join([*lines, "outs: *a19"]).encode(), "x.dvc") == Definition()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "..", "s3://bucket/x", "a/../../x", '"a\\nb"'])
def test_outputs_outside_the_repository_are_not_listed(path: str) -> None:
    found = parse(f"outs:\n- md5: {A}\n  hash: md5\n  path: {path}\n".encode(), "x.dvc")
    assert found == Definition((), 1)


def test_a_pipeline_tells_artifacts_metrics_and_working_folders() -> None:
    text = """
stages:
  a: {wdir: w, cmd: x, outs: [o, {p: {cache: false}}], metrics: [m.json], plots: [{c.csv: {x: y}}]}
  b: {foreach: [1], do: {wdir: "${where}", cmd: x}}
artifacts:
  brain: {path: data/brain, type: dataset, desc: text}
  bad: 3
"""
    found = parse_pipeline(text.encode(), "sub/dvc.yaml")
    assert [(a.name, a.path, a.folder, a.type) for a in found.artifacts] == [
        ("brain", "sub/data/brain", "sub", "dataset")
    ]
    assert found.not_data == {"sub/w/p", "sub/w/m.json", "sub/w/c.csv"}
    assert found.wdirs == {"a": "w", "b": None}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("brain@v1.2.3", ("", "brain", "v1.2.3", None, False, 0)),
        ("data/sub=brain@v1.0.0-rc.1", ("data/sub", "brain", "v1.0.0-rc.1", None, False, 0)),
        ("brain@v1.0.0!#2", ("", "brain", "v1.0.0", None, True, 2)),
        ("brain#prod", ("", "brain", None, "prod", False, 0)),
        ("brain#prod!#7", ("", "brain", None, "prod", True, 7)),
    ],
)
def test_gto_tags_are_read(tag: str, expected: tuple[object, ...]) -> None:
    found = gto.parse(tag)
    assert found is not None
    assert (found.folder, found.name, found.version, found.stage, found.cancelled, found.counter) == expected


@pytest.mark.parametrize("tag", ["v1.0.0", "brain@1.0.0", "brain@deprecated", "release-2026", "@v1.0.0", "brain#3"])
def test_other_tags_are_not_gtos(tag: str) -> None:
    assert gto.parse(tag) is None


def test_versions_are_ordered_as_semantic_versioning_says() -> None:
    ordered = ["v0.9.0", "v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-rc.2", "v1.0.0-rc.10", "v1.0.0", "v1.2.0", "v1.10.0"]
    assert sorted(ordered, key=gto.precedence) == ordered
