"""The panel's API on a real JupyterLab server: closed to strangers, JSON in every case, one sentence on every error."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from mlops_lab.jupyter.server.app import MlopsLab
from mlops_lab.jupyter.server.base import LabHandler, NotFoundHandler
from tests.jupyter_servers import JupyterServer, StartJupyter


@pytest.fixture
def jupyter(start_jupyter: StartJupyter, demo_project: Path, mlops_home: Path) -> JupyterServer:
    return start_jupyter(demo_project, home=mlops_home)


@pytest.fixture(scope="module")
def shared_jupyter(
    start_jupyter_once: StartJupyter, demo_original: Path, tmp_path_factory: pytest.TempPathFactory
) -> JupyterServer:
    """One server for the requests that change nothing."""
    return start_jupyter_once(demo_original, home=tmp_path_factory.mktemp("home"))


def routes() -> list[tuple[str, str]]:
    """Every (verb, path) that the extension serves."""
    app = MlopsLab()
    app.initialize_handlers()
    found = []
    for path, handler in app.handlers:
        assert issubclass(handler, LabHandler)
        if handler is NotFoundHandler:
            continue
        verbs = [verb for verb in ("get", "post", "put", "patch", "delete") if verb in vars(handler)]
        assert verbs, path
        found += [(verb.upper(), path.removeprefix("/mlops-lab/")) for verb in verbs]
    return found


def test_every_handler_refuses_a_stranger(jupyter: JupyterServer) -> None:
    for verb, path in routes():
        answer = httpx.request(verb, f"{jupyter.url}mlops-lab/{path}", json={})
        assert answer.status_code == 403, (verb, path, answer.status_code)
        assert set(answer.json()) == {"code", "message", "hint"}


def test_a_changing_request_from_a_browser_needs_the_xsrf_token(jupyter: JupyterServer) -> None:
    with httpx.Client(follow_redirects=True) as browser:
        browser.get(f"{jupyter.url}lab?token={jupyter.token}")
        assert browser.get(f"{jupyter.url}mlops-lab/connection").status_code == 200
        for verb, path in routes():
            if verb != "GET":
                answer = browser.request(verb, f"{jupyter.url}mlops-lab/{path}", json={})
                assert answer.status_code == 403, (verb, path)
                assert answer.json()["code"] == "xsrf"


def test_the_demo_projects_versions_are_listed_newest_first(jupyter: JupyterServer) -> None:
    catalogue = jupyter.json("GET", "datasets?path=quickstart.ipynb")
    [brain] = catalogue["datasets"]
    assert [version["spec"] for version in brain["versions"]] == ["brain@v2.0.0", "brain@v1.0.0"]
    assert all(version["nfiles"] > 50 and version["where"] for version in brain["versions"])


def test_a_recipe_becomes_a_cell_for_the_version_that_was_picked(jupyter: JupyterServer) -> None:
    [recipe] = jupyter.json("GET", "recipes")["recipes"]
    cell = jupyter.json(
        "POST", "cell", json={"recipe": recipe["name"], "data": "brain@v1.0.0", "values": {"max_epochs": 3}}
    )
    assert "%load_ext mlops_lab" in cell["setup"]
    assert "max_epochs = 3" in cell["source"]
    assert "brain@v1.0.0" in cell["source"]


def test_the_notebooks_kernel_is_asked_what_it_has(jupyter: JupyterServer) -> None:
    answer = jupyter.json("GET", "environment?kernel=python3")
    assert answer["ready"] is True, answer


def test_a_kernel_without_the_package_gets_a_sentence(
    start_jupyter: StartJupyter, demo_project: Path, mlops_home: Path, tmp_path: Path
) -> None:
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    kernels = tmp_path / "jupyter" / "kernels"
    for name, program in (("bare", tmp_path / "bare" / "bin" / "python"), ("gone", tmp_path / "no-such-python")):
        (kernels / name).mkdir(parents=True)
        spec = {"argv": [str(program), "-m", "ipykernel"], "display_name": name.title(), "language": "python"}
        (kernels / name / "kernel.json").write_text(json.dumps(spec))
    server = start_jupyter(demo_project, home=mlops_home, environment={"JUPYTER_PATH": str(tmp_path / "jupyter")})
    bare = server.json("GET", "environment?kernel=bare")
    assert (bare["ready"], bare["version"]) == (False, None)
    assert "mlops_lab" in bare["missing"]
    assert "mlops_lab" in bare["message"]
    assert "%pip install" in bare["hint"]
    gone = server.json("GET", "environment?kernel=gone")
    assert "cannot be started" in gone["message"]
    unknown = server.request("GET", "environment?kernel=nobody")
    assert unknown.status_code == 400
    assert "nobody" in unknown.json()["message"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "says"),
    [
        ("GET", "datasets?path=../../etc", None, "outside"),
        ("GET", "runs?max_results=100000", None, "100"),
        ("GET", "runs", None, "server"),
        ("GET", "experiments", None, "server"),
        ("POST", "comparison", {"run_ids": "one"}, "run_ids"),
        ("POST", "connection", {"uri": "ftp://example.org"}, "http"),
        ("POST", "connection", {"uri": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ("POST", "connection", {"url": "misspelt"}, "url"),
        ("POST", "cell", {"recipe": "no_such_recipe", "data": "brain@v1.0.0"}, "no_such_recipe"),
        ("POST", "cell", {"recipe": "segmentation_2d", "data": "brain@v1.0.0", "values": {"max_epochs": -1}}, "Epochs"),
        ("GET", "environment", None, "kernel"),
        ("GET", "no-such-endpoint", None, "no-such-endpoint"),
        ("PUT", "connection", {}, "Not Allowed"),
        ("GET", "datasets?path=" + "x" * 5000 + "/../../..", None, "outside"),
        ("GET", "runs?max_results=" + "9" * 5000, None, "100"),
        ("POST", "embedded", {"port": 99999999}, "port"),
        ("POST", "cell", {"recipe": "x" * 2_000_000, "data": "brain@v1.0.0"}, "too large"),
    ],
)
def test_bad_input_gets_one_sentence(
    shared_jupyter: JupyterServer, verb: str, path: str, body: object, says: str
) -> None:
    answer = shared_jupyter.request(verb, path, json=body)
    assert 400 <= answer.status_code < 600, answer.text
    error = answer.json()
    assert set(error) == {"code", "message", "hint"}
    assert says in error["message"] + error["hint"]
    assert "Traceback" not in answer.text
    assert error["code"] != "internal", error


def test_a_body_that_is_no_json_gets_a_sentence(shared_jupyter: JupyterServer) -> None:
    for body in (b"{not json", b"[" * 100_000, b"\xff\xfe"):
        answer = shared_jupyter.request("POST", "cell", content=body)
        assert answer.status_code == 400
        assert answer.json()["code"] == "bad_request"


def test_a_path_that_no_file_system_takes_finds_the_project_around_it(shared_jupyter: JupyterServer) -> None:
    answer = shared_jupyter.request("GET", "datasets?path=" + "x" * 5000)
    assert answer.status_code == 200
    assert [one["name"] for one in answer.json()["datasets"]] == ["brain"]


def test_a_folder_without_git_gets_a_sentence(start_jupyter: StartJupyter, mlops_home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = start_jupyter(empty, home=mlops_home, environment={"GIT_CEILING_DIRECTORIES": str(tmp_path)}).request(
        "GET", "datasets?path="
    )
    assert answer.status_code == 404
    assert "git" in answer.json()["message"]
