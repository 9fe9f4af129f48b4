"""Two researchers, one server with accounts: what one of them meets where an experiment is the other's."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lab.connection.errors import ExperimentClosed, Forbidden, Refused
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.jupyter.magics.status import status_lines
from mlops_lab.runs import list_experiments, refresh, search
from mlops_lab.tracking import sync, track, waiting
from mlops_lab.tracking.errors import NoExperimentName
from mlops_lab.tracking.journal import folders
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import End, Metric, Start
from tests.mlflow_servers import ADMIN
from tests.web_sites import Site, says

PASSWORD = "a-password-of-one-12"


class Group:
    """Alice and Bob on a server that shows each of them nothing of the other, and what its administrator can do."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.admin = TrackingServer(uri, auth="basic", username="admin", password=ADMIN)
        tag = secrets.token_hex(3)
        self.alice = self.join(f"alice-{tag}")
        self.bob = self.join(f"bob-{tag}")
        self.brain = f"brain-{tag}"
        self.shared_id = self.alice.create_experiment(self.brain)

    def join(self, name: str) -> TrackingServer:
        """Make an account."""
        self.admin.post("users/create", {"username": name, "password": PASSWORD})
        return TrackingServer(self.uri, auth="basic", username=name, password=PASSWORD)

    def share(self, permission: str) -> None:
        """Let Bob into Alice's experiment, as `./mlops-server share` does; the last word counts."""
        whom = {"username": self.bob.user, "resource_type": "experiment", "resource_id": self.shared_id}
        with contextlib.suppress(Refused):  # MLflow changes no grant, and knows none to take back at first
            self.admin.post("/api/3.0/mlflow/users/permissions/revoke", whom)
        self.admin.post("/api/3.0/mlflow/users/permissions/grant", {**whom, "permission": permission})


@pytest.fixture
def group(accounts: str, mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """The group; this process is Bob's."""
    made = Group(accounts)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", accounts)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", made.bob.user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return made


def journal_of(experiment: str, key: str, time: int = 1) -> Path:
    written = Journal.create(Start(1, f"{key}-{secrets.token_hex(4)}", experiment, key, time, "bob", {}))
    for step in range(5):
        written.append(Metric("loss", 0.5, step, step))
    written.append(End("FINISHED", 9))
    written.close()
    return written.folder


def runs_in(server: TrackingServer, experiment: str) -> list[str]:
    found = server.experiment_by_name(experiment)
    assert found is not None
    return sorted(run["info"]["run_name"] for run in server.search_runs([found["experiment_id"]])["runs"])


def test_somebody_elses_experiment_is_named_so_and_the_run_waits(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    with track(experiment=group.brain, run_name="bobs") as run:
        run.log_metric("loss", 0.5)
    assert run.run_id is None
    said = capsys.readouterr().err
    who = group.bob.user
    assert (
        f"The experiment '{group.brain}' on this server belongs to somebody else and {who} may not write to it. "
        f"Ask the administrator of the server to share it (./mlops-server share {group.brain} {who} EDIT), "
        "or choose another experiment name. The run is kept on this computer"
    ) in said
    assert said.count("belongs to somebody else") == 1
    assert "Traceback" not in said

    (left,) = sync().runs
    assert (left.status, left.run_id) == ("waiting", None)
    (told,) = waiting()
    assert (told.name, told.experiment) == ("bobs", group.brain)
    for reason in (left.message, told.reason):
        assert "belongs to somebody else" in reason
        assert "%mlops_sync --experiment NAME" in reason
    assert "belongs to somebody else" in "\n".join(status_lines())

    group.share("EDIT")
    (sent,) = sync().runs
    assert (sent.status, sent.experiment, sent.redirected) == ("sent", group.brain, False)
    assert runs_in(group.alice, group.brain) == ["bobs"]
    assert waiting() == []


def test_an_experiment_that_is_shared_while_the_cell_runs_takes_the_run(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_lab.tracking.projection.flusher.TICK", 0.05)
    with track(experiment=group.brain) as run:
        run.log_metric("loss", 0.5)
        assert run.run_id is None
        group.share("EDIT")
    assert run.run_id
    assert group.alice.get_run(run.run_id)["info"]["status"] == "FINISHED"


def test_an_experiment_that_is_shared_for_reading_only_says_so(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    group.share("READ")
    with track(experiment=group.brain) as run:
        run.log_metric("loss", 0.5)
    assert run.run_id is None
    said = capsys.readouterr().err
    assert f"is shared with {group.bob.user} for reading only" in said
    assert f"share {group.brain} {group.bob.user} EDIT" in said
    assert [left.status for left in sync().runs] == ["waiting"]


def test_a_run_that_waits_for_an_experiment_keeps_no_other_back_and_goes_where_it_is_sent(group: Group) -> None:
    own = f"bobs-{secrets.token_hex(4)}"
    journal_of(group.brain, "closed", 1)
    journal_of(own, "open", 2)
    report = sync()
    assert [(run.name, run.status) for run in report.runs] == [("closed", "waiting"), ("open", "sent")]
    assert str(report).startswith("1 of 2 runs sent. The experiment ")

    journal_of(own, "later", 3)
    elsewhere = f"{own} elsewhere"
    report = sync(experiment=elsewhere)
    assert [(run.name, run.status, run.experiment) for run in report.runs] == [
        ("closed", "sent", elsewhere),
        ("later", "sent", own),
    ]
    assert str(report) == f"2 of 2 runs sent, 1 of them to the experiment '{elsewhere}'."
    assert runs_in(group.bob, own) == ["later", "open"]
    assert runs_in(group.bob, elsewhere) == ["closed"]
    assert sync().runs == []
    with pytest.raises(NoExperimentName):
        sync(experiment=" ")


def test_a_redirected_run_whose_position_was_lost_is_not_made_twice(group: Group) -> None:
    folder = journal_of(group.brain, "closed")
    elsewhere = f"bobs-{secrets.token_hex(4)}"
    assert [run.status for run in sync(experiment=elsewhere).runs] == ["sent"]
    (folder / folders.POSITION).unlink()
    assert [run.status for run in sync(experiment=elsewhere).runs] == ["sent"]
    assert runs_in(group.bob, elsewhere) == ["closed"]


def test_an_experiment_that_was_deleted_is_a_reason_to_go_elsewhere(group: Group) -> None:
    own = f"bobs-{secrets.token_hex(4)}"
    mine = group.bob.create_experiment(own)
    journal_of(own, "mine", 1)
    journal_of(group.brain, "hers", 2)
    group.bob.post("experiments/delete", {"experiment_id": mine})
    group.alice.post("experiments/delete", {"experiment_id": group.shared_id})

    with pytest.raises(Refused, match="was deleted"), track(experiment=own):
        pytest.fail("the body ran")
    # Whether somebody else's experiment was deleted is not told.
    with pytest.raises(ExperimentClosed, match="belongs to somebody else"):
        group.bob.ensure_experiment(group.brain)

    assert [run.status for run in sync().runs] == ["failed", "waiting"]
    elsewhere = f"{own} again"
    assert [run.experiment for run in sync(experiment=elsewhere).runs] == [elsewhere, elsewhere]
    assert runs_in(group.bob, elsewhere) == ["hers", "mine"]


def test_a_share_that_is_taken_back_leaves_the_rest_of_the_run_here(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    group.share("EDIT")
    with track(experiment=group.brain, run_name="half") as run:
        assert run.run_id
        group.share("READ")
        run.log_metric("loss", 0.5)
    said = capsys.readouterr().err
    assert f"The server does not let {group.bob.user} write to this run" in said
    assert not (run.folder / folders.QUARANTINE).exists()
    # It has begun there: a half of it elsewhere would be another run.
    (left,) = sync(experiment=f"bobs-{secrets.token_hex(4)}").runs
    assert (left.status, left.run_id) == ("waiting", run.run_id)
    group.share("EDIT")
    assert [one.status for one in sync().runs] == ["sent"]
    assert group.alice.get_run(run.run_id)["info"]["status"] == "FINISHED"


def test_the_command_line_sends_a_run_elsewhere(group: Group) -> None:
    journal_of(group.brain, "closed")
    elsewhere = f"bobs-{secrets.token_hex(4)}"

    def command(*options: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "mlops_lab.cli", "sync", *options]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    first = command()
    assert first.returncode == 0, first.stderr
    assert "belongs to somebody else" in first.stdout
    assert "(or mlops-lab sync --experiment NAME)" in first.stdout
    second = command("--experiment", elsewhere, "--json")
    assert second.returncode == 0, second.stderr
    (run,) = json.loads(second.stdout)["runs"]
    assert (run["status"], run["experiment"], run["redirected"]) == ("sent", elsewhere, True)
    refused = command("--experiment", "")
    assert refused.returncode == 1
    assert refused.stderr.startswith("mlops-lab: The experiment needs a name.")


def test_one_who_may_see_nothing_sees_an_empty_list_and_no_error(group: Group) -> None:
    hers = group.alice.create_run(group.shared_id, run_name="hers")["info"]["run_id"]
    assert list_experiments(group.bob) == []
    assert search(group.bob).runs == []
    assert search(group.bob, [group.shared_id]).runs == [], "an experiment that was shared once and is no longer"
    assert refresh(group.bob, [hers]) == []

    group.share("READ")
    assert [one.name for one in list_experiments(group.bob)] == [group.brain]
    assert [run.run_id for run in search(group.bob)] == [hers]
    assert [run.run_id for run in refresh(group.bob, [hers])] == [hers]


def test_a_server_that_refuses_everything_is_not_taken_for_a_closed_experiment(site: Callable[..., Site]) -> None:
    gateway = site(says(403, "<h1>Forbidden</h1>", "text/html"))
    server = TrackingServer(gateway.uri, auth="basic", username="bob", password=PASSWORD)
    with pytest.raises(Forbidden) as caught:
        server.ensure_experiment("brain")
    assert not isinstance(caught.value, ExperimentClosed)
    assert "does not allow this" in caught.value.message


def test_names_with_spaces_are_quoted_for_the_shell(group: Group) -> None:
    name = f"brain and spine {secrets.token_hex(4)}"
    group.alice.create_experiment(name)
    with pytest.raises(ExperimentClosed) as caught:
        group.bob.ensure_experiment(name)
    assert f"./mlops-server share '{name}' {group.bob.user} EDIT" in caught.value.hint
