"""What is wrong with a variable is said before anything starts, by name, and never with its value."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from mlops_server import settings

from tests.stack.services import PACKAGE, Environment, MlflowImage, values

EXAMPLE = Path(__file__).parents[2] / "mlflow_server" / ".env.example"


@pytest.fixture
def good() -> Environment:
    """Variables with which the server starts."""
    return {
        **values(),
        "MYSQL_DATABASE": "mlflow",
        "MYSQL_USER": "mlflow",
        "MYSQL_PASSWORD": "k3-Vq8#zR2!mnTw",
        "MYSQL_ROOT_PASSWORD": "Zt7$wq-Ps0@xnEe",
        "MINIO_ROOT_USER": "store-root",
        "MINIO_ROOT_PASSWORD": "b6Yw+Lk2=aaRt9u",
        "MINIO_BUCKET": "mlflow",
        "MINIO_ACCESS_KEY": "mlflow-key",
        "MINIO_SECRET_KEY": "hG5-Tb1;qqZx8oP",
        "MLOPS_UID": "1000",
        "MLOPS_GID": "1000",
    }


@pytest.fixture
def image(tmp_path: Path) -> MlflowImage:
    """The image's command, without any variable."""
    return MlflowImage(tmp_path)


def test_values_of_ones_own_are_accepted(good: Environment, image: MlflowImage) -> None:
    assert settings.problems(good, settings.REQUIRED + settings.OWNER) == []

    image.environment = good
    done = image.run("check")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [name for name in settings.REQUIRED if name not in settings.DEFAULTS])
def test_a_variable_that_is_undefined_is_named(good: Environment, name: str) -> None:
    del good[name]

    (problem,) = settings.problems(good)

    assert problem.startswith(f"{name} is not set: ")


@pytest.mark.parametrize("name", [name for name in settings.REQUIRED if name in settings.DEFAULTS])
def test_a_variable_with_a_default_may_be_left_out(good: Environment, name: str) -> None:
    del good[name]

    assert settings.problems(good) == []


@pytest.mark.parametrize("empty", ["", "   "])
@pytest.mark.parametrize("name", settings.REQUIRED + settings.OWNER)
def test_a_variable_that_is_empty_is_named(good: Environment, name: str, empty: str) -> None:
    good[name] = empty

    (problem,) = settings.problems(good, settings.REQUIRED + settings.OWNER)

    assert problem.startswith(f"{name} is empty: ")


def test_every_example_value_is_named(good: Environment) -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    example = dict(line.split("=", 1) for line in lines)
    untouched = {name for name, value in example.items() if value.startswith(settings.EXAMPLE)}

    found = settings.problems({**good, **example}, settings.REQUIRED + settings.OWNER)

    assert {problem.split(" ", 1)[0] for problem in found} == untouched
    assert all("is still the example value" in problem for problem in found)


@pytest.mark.parametrize("name", settings.SECRETS)
@pytest.mark.parametrize(
    "weak",
    ["password", "Password1", "minioadmin", "secret", "password1234", "ChangeMe-changeme!", "adminadmin2026",
     "aaaaaaaaaaaaaaaa", "121212121212", "short-8x"],
)  # fmt: skip
def test_a_weak_secret_is_named_but_not_shown(good: Environment, name: str, weak: str) -> None:
    good[name] = weak

    (problem,) = settings.problems(good)

    assert problem.startswith(f"{name} is ")
    assert "well-known" in problem or "shorter than 12 characters" in problem
    assert weak not in problem


def test_one_secret_for_two_doors_is_named(good: Environment) -> None:
    good["MYSQL_ROOT_PASSWORD"] = good["MYSQL_PASSWORD"]

    (problem,) = settings.problems(good)

    assert problem.startswith("MYSQL_ROOT_PASSWORD is the same as MYSQL_PASSWORD")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVER_NAME", "https://mlflow.hospital.org", "without https://"),
        ("SERVER_NAME", "MLflow.Hospital.org", "capital letters"),
        ("MLFLOW_PORT", "eighty-five", "not a port"),
        ("MINIO_PORT", "8585", "same as MLFLOW_PORT"),
        ("MLFLOW_WORKERS", "0", "from 1 to 64"),
        ("MLFLOW_ADMIN_USER", "healthcheck", "health check"),
        ("MYSQL_DATABASE", "mysql", "itself"),
        ("MYSQL_DATABASE", "ml/flow", "letters, digits"),
        ("MYSQL_USER", "root", "root"),
        ("MINIO_BUCKET", "My_Bucket", "small letters"),
        ("MINIO_ACCESS_KEY", "a=b,c", "access key"),
        ("MYSQL_PASSWORD", " k3-Vq8#zR2!mnTw", "space"),
        ("MYSQL_PASSWORD", "k3-Vq8#zR2!mnTé", "ASCII"),
        ("MLOPS_UID", "0", "root"),
    ],
)
def test_a_value_that_cannot_work_is_named(good: Environment, name: str, value: str, said: str) -> None:
    good[name] = value

    (problem,) = settings.problems(good, settings.REQUIRED + settings.OWNER)

    assert problem.startswith(f"{name} ")
    assert said in problem


def test_check_prints_one_line_for_each_problem_and_fails(good: Environment, image: MlflowImage) -> None:
    image.environment = good

    done = image.run("check", MYSQL_PASSWORD=None, MINIO_SECRET_KEY="change-me", MLFLOW_SECRET_KEY="minioadmin")

    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert sorted(line.split(" ", 1)[0] for line in lines) == [
        "MINIO_SECRET_KEY",
        "MLFLOW_SECRET_KEY",
        "MYSQL_PASSWORD",
    ]


def test_the_public_address_leaves_out_the_port_of_https(good: Environment) -> None:
    assert settings.Web.read(good).host == "mlflow.hospital.test:8585"
    assert settings.Web.read(good).origin == "https://mlflow.hospital.test:8585"

    standard = settings.Web.read({**good, "MLFLOW_PORT": "443"})

    assert (standard.host, standard.origin) == ("mlflow.hospital.test", "https://mlflow.hospital.test")


def test_the_rules_are_readable_by_the_oldest_python_of_an_operator() -> None:
    source = (PACKAGE / "mlops_server" / "settings.py").read_text()

    tree = ast.parse(source, feature_version=(3, 9))

    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {str(name).split(".")[0] for name in imported} <= sys.stdlib_module_names
