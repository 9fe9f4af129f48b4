"""Two researchers at the hospital's server, from their notebooks: own runs, shared runs, and all that is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from mlops_lab.connection.errors import Forbidden
from mlops_lab.connection.rest import TrackingServer
from tests.browser.pages import HAS_RUN, PATIENCE, TRAINING_LIMIT, Lab, pictures_folder
from tests.jupyter_servers import JupyterServer, StartJupyter
from tests.production_stack import ProductionStack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("stack")]

NOTHING_YET = "You have no experiments on this server yet."


@dataclass
class Researcher:
    """One person: an account on the server, and a JupyterLab with a home of its own."""

    name: str
    password: str
    lab: Lab
    server: TrackingServer
    """The server as this person's account sees it."""

    def log_in(self, uri: str) -> None:
        """Open the panel on the demo project and log in, with the certificate file that the administrator gave."""
        self.lab.open("demo", fresh=True)
        self.lab.open_panel()
        self.lab.log_in(uri, self.name, self.password, authority="ca.crt")
        expect(self.lab.part("connected")).to_contain_text(f"{self.name} (password)")

    def train(self, version: str, experiment: str = "") -> None:
        """Pick a dataset version, insert a short training cell and run it; gives back when it is running."""
        self.lab.part(f"version-brain@{version}").click()
        self.lab.part("train-in").fill(experiment)
        self.lab.part("recipe-form").get_by_label("Epochs").fill("1")
        self.lab.part("insert-run").click()

    def runs_on_screen(self) -> set[str]:
        """Ids of the runs that the panel lists."""
        rows = self.lab.page.locator("[data-run-id]")
        return {row.get_attribute("data-run-id") or "" for row in rows.all()}

    def runs_on_server(self) -> set[str]:
        """Ids of all runs that the account may see."""
        experiments = [found["experiment_id"] for found in self.server.search_experiments()]
        return {run["info"]["run_id"] for run in self.server.search_runs(experiments)["runs"]} if experiments else set()


@pytest.fixture(scope="module")
def desks(
    production_stack: ProductionStack,
    start_jupyter_once: StartJupyter,
    demo_original: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, JupyterServer]:
    """Two JupyterLabs, each with a home, the demo project and the file of the server's authority."""
    made = {}
    for name in ("alice", "bob"):
        place = tmp_path_factory.mktemp(name)
        root, home = place / "work", place / "home"
        shutil.copytree(demo_original, root / "demo", symlinks=True)
        shutil.copyfile(production_stack.ca, root / "ca.crt")
        home.mkdir()
        made[name] = start_jupyter_once(root, home=home / "mlops-lab", environment={"HOME": str(home)})
    return made


@pytest.fixture
def people(
    production_stack: ProductionStack, desks: dict[str, JupyterServer], browser: Browser, tmp_path: Path
) -> Iterator[tuple[Researcher, Researcher]]:
    """Alice and Bob with accounts that nobody had before; nobody is logged in, no kernel runs."""
    made = []
    for word, jupyter in desks.items():
        name = f"{word}-{secrets.token_hex(3)}"
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE)
        lab = Lab(page, jupyter, pictures_folder(tmp_path / "pictures"))
        password = production_stack.add_user(name)
        account = TrackingServer(
            production_stack.uri, auth="basic", username=name, password=password, ca_bundle=str(production_stack.ca)
        )
        made.append(Researcher(name, password, lab, account))
    yield made[0], made[1]
    for person in made:
        person.lab.page.context.close()
        person.lab.shut_down_every_kernel()
        person.lab.server.request("DELETE", "connection")


def test_a_researcher_gets_in_with_the_right_file_name_and_password_only(
    people: tuple[Researcher, Researcher], production_stack: ProductionStack
) -> None:
    alice, _ = people
    lab, uri = alice.lab, production_stack.uri
    lab.open("demo", fresh=True)
    lab.open_panel()
    refusal = lab.part("login").get_by_test_id("mlops-error")

    lab.log_in(uri.replace("https", "http"), alice.name, alice.password)
    expect(refusal).to_contain_text(uri)
    lab.picture("shared-typed-http")

    lab.log_in(uri, alice.name, alice.password)
    expect(refusal).to_contain_text("an authority that this computer does not know")
    expect(refusal).to_contain_text("ca.crt")
    expect(lab.part("login").get_by_label("Path of its certificate file")).to_be_visible()
    lab.picture("shared-unknown-authority")

    lab.log_in(uri, alice.name, alice.password, authority="demo/README.md")
    expect(refusal).to_contain_text("cannot be read as PEM")
    lab.log_in(uri.replace("localhost", "127.0.0.1"), alice.name, alice.password, authority="ca.crt")
    expect(refusal).to_contain_text("was issued for localhost")
    lab.log_in(uri, alice.name, "a-wrong-password", authority="ca.crt")
    expect(refusal).to_contain_text("did not accept this login")
    lab.picture("shared-wrong-password")

    lab.log_in(uri, alice.name, alice.password, authority="ca.crt")
    expect(lab.part("connected")).to_contain_text(f"{alice.name} (password)")
    expect(lab.part("no-experiments")).to_contain_text(NOTHING_YET)
    expect(lab.panel.get_by_role("alert")).to_have_count(0)
    lab.part("no-experiments").scroll_into_view_if_needed()
    lab.picture("shared-first-login")
    lab.part("logout").click()
    expect(lab.part("disconnected")).to_be_visible()


def test_two_researchers_train_side_by_side_and_share_when_they_want_to(
    people: tuple[Researcher, Researcher], production_stack: ProductionStack
) -> None:
    alice, bob = people
    # A name of this test's own: MLflow keeps names for ever.
    hers, his = f"{alice.name} brain", f"{bob.name} brain"
    for person in people:
        person.log_in(production_stack.uri)
        person.lab.new_notebook()
    alice.train("v1.0.0", hers)
    finished = alice.lab.page.locator("[data-run-id][data-status=FINISHED]")
    expect(finished).to_have_count(1, timeout=TRAINING_LIMIT)
    [first] = alice.runs_on_screen()

    # Bob's cell names her experiment: it trains all the same, and says what is wrong while it does.
    expect(bob.lab.part("no-experiments")).to_contain_text(NOTHING_YET)
    bob.train("v2.0.0", hers)
    output = bob.lab.notebook.locator(".jp-OutputArea").last
    expect(output).to_contain_text(f"The experiment '{hers}' on this server belongs to somebody else", timeout=120_000)
    expect(output).to_contain_text(f"./mlops-server share '{hers}' {bob.name} EDIT")
    expect(output).to_contain_text("✓ finished", timeout=TRAINING_LIMIT)
    expect(output).not_to_contain_text("Traceback")
    expect(bob.lab.part("waiting")).to_contain_text("1 run waits on this computer.")
    expect(bob.lab.part("waiting")).to_contain_text("belongs to somebody else")
    bob.lab.part("waiting").scroll_into_view_if_needed()
    bob.lab.picture("shared-not-yours")
    assert bob.runs_on_server() == set()
    expect(bob.lab.part("no-experiments")).to_be_visible()

    # What waited is not lost: he sends it to an experiment of his own.
    assert "1 of 1 runs sent" in bob.lab.run_cell(f"%mlops_sync --experiment '{his}'")
    expect(bob.lab.page.locator("[data-run-id][data-status=FINISHED]")).to_have_count(1)
    [second] = bob.runs_on_screen()
    assert "Nothing to send" in bob.lab.run_cell("%mlops_sync")
    expect(bob.lab.part("waiting")).to_have_count(0)
    bob.lab.picture("shared-sent-elsewhere")

    for person, own, foreign in ((alice, first, second), (bob, second, first)):
        person.lab.part("refresh-runs").click()
        assert person.runs_on_screen() == {own}
        listed = person.lab.run_cell("%mlops_runs")
        assert own in listed
        assert foreign not in listed
        assert person.runs_on_server() == {own}
        with pytest.raises(Forbidden):
            person.server.get_run(foreign)
        with pytest.raises(Forbidden):
            person.server.list_artifacts(foreign)

    no_secret_is_left_behind(bob, production_stack)
    production_stack.share(hers, bob.name, "READ")
    bob.lab.part("refresh-runs").click()
    bob.lab.part("experiment").select_option("All experiments")
    for run in (first, second):
        bob.lab.page.locator(f"[data-run-id='{run}'] input[type=checkbox]").check()
    expect(bob.lab.part(f"run-{first}")).to_contain_text(alice.name)
    bob.lab.part(f"run-{first}").scroll_into_view_if_needed()
    bob.lab.picture("shared-with-bob")
    bob.lab.part("compare").click()
    comparison = bob.lab.notebook.get_by_test_id("mlops-comparison")
    expect(comparison).to_be_visible(timeout=60_000)
    expect(comparison.get_by_test_id("mlops-params")).to_contain_text("v2.0.0")
    expect(comparison.get_by_test_id("mlops-chart-train_loss").locator("canvas")).to_be_visible(timeout=20_000)
    bob.lab.picture("shared-comparison")
    said = bob.lab.run_cell(f"%%mlops_track --experiment '{hers}'\nanswer = 42")
    assert f"is shared with {bob.name} for reading only" in said

    bob.lab.part("logout").click()
    expect(bob.lab.part("disconnected")).to_be_visible()
    assert [file.name for file in bob.lab.server.files() if bob.password.encode() in file.read_bytes()] == []


def no_secret_is_left_behind(person: Researcher, stack: ProductionStack) -> None:
    """The password stands in the session file, and in no notebook, setting, log, variable or browser storage."""
    lab = person.lab
    lab.run_cell("import json, os, pathlib; _ = pathlib.Path('env.json').write_text(json.dumps(dict(os.environ)))")
    lab.save()
    logs = stack.operate("logs", "--tail", "100000").stdout
    assert person.name in logs
    encoded = base64.b64encode(f"{person.name}:{person.password}".encode())
    for secret in (person.password.encode(), encoded):
        holders = [file.parent.name for file in lab.server.files() if secret in file.read_bytes()]
        assert holders in ([], ["runtime"])
        for kept in (json.dumps(lab.page.context.storage_state(indexed_db=True)), lab.page.content()):
            assert secret.decode() not in kept
        assert secret.decode() not in lab.page.evaluate("JSON.stringify({...sessionStorage})")
        assert secret.decode() not in logs


def test_a_file_comes_back_as_it_was_logged(
    people: tuple[Researcher, Researcher], production_stack: ProductionStack, tmp_path: Path
) -> None:
    _, bob = people
    experiment = f"{bob.name} files"
    bob.log_in(production_stack.uri)
    lab = bob.lab
    lab.new_notebook()
    lab.run_cell("%load_ext mlops_lab\nimport mlflow, pathlib, secrets\nweights = pathlib.Path('weights.bin')")
    lab.run_cell("_ = weights.write_bytes(secrets.token_bytes(9_000_001))")
    logged = f"%%mlops_track --experiment '{experiment}'\nmlflow.log_artifact(str(weights), 'models')"
    expect(lab.begin_cell(logged)).to_have_text(HAS_RUN, timeout=120_000)
    found = bob.server.experiment_by_name(experiment)
    assert found
    [run] = bob.server.search_runs([found["experiment_id"]])["runs"]
    run_id = run["info"]["run_id"]
    assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:")

    want = digest(lab.server.root / "demo" / "weights.bin")
    assert digest(bob.server.download_artifact(run_id, "models/weights.bin", tmp_path / "rest.bin")) == want
    lab.run_cell(f"path = mlflow.artifacts.download_artifacts(run_id='{run_id}', artifact_path='models/weights.bin')")
    assert want in lab.run_cell("import hashlib\nhashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_is_asked_in_a_wrong_way_is_refused(production_stack: ProductionStack) -> None:
    name = f"carol-{secrets.token_hex(3)}"
    search = f"{production_stack.uri}/api/2.0/mlflow/experiments/search"
    trusted = httpx.create_ssl_context(verify=str(production_stack.ca))

    def answer(auth: tuple[str, str] | None, **headers: str) -> int:
        return httpx.post(search, json={"max_results": 1}, auth=auth, headers=headers, verify=trusted).status_code

    right = (name, production_stack.add_user(name))
    assert answer(right) == 200
    assert answer(None) == 401
    assert answer((name, "a-wrong-password")) == 401
    assert answer(right, Host="evil.example") == 421
    assert answer(right, Origin="https://evil.example") == 403
    assert answer(right, Origin=production_stack.uri) == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.post(search, json={"max_results": 1}, auth=right)
