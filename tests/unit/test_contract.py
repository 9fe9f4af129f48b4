"""The front end's types are made from the Python structs; this notices when somebody forgot to make them again."""

from __future__ import annotations

import re
from pathlib import Path

import mlops_lab
from mlops_lab.jupyter.contract import typescript

COMMITTED = Path(mlops_lab.__file__).parent / "frontend" / "src" / "contract.ts"


def interface(name: str) -> str:
    found = re.search(rf"^export interface {name} {{\n(.*?)^}}$", typescript(), re.MULTILINE | re.DOTALL)
    assert found, f"{name} is not in the contract"
    return found[1]


def test_the_committed_contract_is_what_the_structs_say() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == typescript(), (
        "run: python -m mlops_lab.jupyter.contract > mlops_lab/frontend/src/contract.ts"
    )


def test_a_request_may_leave_out_what_has_a_default() -> None:
    request = interface("LoginRequest")
    assert "  uri: string;" in request
    assert "  password?: string;" in request


def test_an_answer_always_carries_every_field() -> None:
    for name in ("ConnectionState", "DatasetVersion", "RunRow", "Comparison", "KernelEnvironment"):
        assert "?:" not in interface(name)


def test_metric_values_can_be_nan_and_infinite() -> None:
    assert "  values: WireNumber[];" in interface("Series")
    assert "  values: (WireNumber | null)[];" in interface("MetricRow")
    assert "  metrics: Record<string, WireNumber>;" in interface("RunRow")


def test_comments_of_the_structs_reach_the_front_end_without_python_words() -> None:
    assert "/** null on a detached HEAD. */" in interface("Catalogue")
    assert not re.search(r":\w+:`|``|\bNone\b", typescript())
