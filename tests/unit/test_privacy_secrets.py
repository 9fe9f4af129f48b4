"""Passwords, keys and tokens stay out of what a run records; the code keeps its shape."""

from __future__ import annotations

import ast

import pytest

from mlops_lab.privacy import Guard
from mlops_lab.privacy.secrets import mask_source, mask_text, may_hold_secret

MASKED = {
    'password = "hunter2"': 'password = "***"',
    "user, pw = 'bob', 'sesame'": "user, pw = 'bob', '***'",
    'os.environ["AWS_SECRET_ACCESS_KEY"] = "wJalrX"': 'os.environ["AWS_SECRET_ACCESS_KEY"] = "***"',
    'config.apiKey = b"abcdef"': 'config.apiKey = b"***"',
    'login("bob", passphrase="open" "sesame")': 'login("bob", passphrase="***")',
    'settings = {"password": "hunter2", "size": "4"}': 'settings = {"password": "***", "size": "4"}',
    'os.environ.setdefault("HF_TOKEN", "abcdef")': 'os.environ.setdefault("HF_TOKEN", "***")',
    'auth = Basic("bob", "hunter2")': 'auth = Basic("***", "***")',
    'secret: str = f"{user}-hunter2"': 'secret: str = "***"',
    'def connect(host, password="hunter2"): ...': 'def connect(host, password="***"): ...',
    'assert password == "hunter2"': 'assert password == "***"',
    "pwd = 123456": 'pwd = "***"',
    'db = "postgresql://bob:hunter2@db/x"': 'db = "postgresql://bob:***@db/x"',
    'db = "https://hunter2@git.example.org/x"': 'db = "https://***@git.example.org/x"',
    'link = "Server=x;Pwd=hunter2;Timeout=3"': 'link = "Server=x;Pwd=***;Timeout=3"',
    'text = \'{"password": "hunter2"}\'': 'text = \'{"password": "***"}\'',
    "x = 1  # password = 'hunter2'": "x = 1  # password = '***'",
    "größe = 'ü'; token = 'ünï'": "größe = 'ü'; token = '***'",
    'v = "ghp_0123456789abcdefABCDEF"': 'v = "***"',
    'v = "glpat-0123456789abcdefABCD"': 'v = "***"',
    'v = "AKIAIOSFODNN7EXAMPLE"': 'v = "***"',
    'v = "eyJhbGciOi.eyJzdWIiOiI.SflKxwRJ"': 'v = "***"',
    'v = "xoxb-0123456789-abcdef"': 'v = "***"',
    'v = {"Authorization": "Bearer abcdef123"}': 'v = {"Authorization": "***"}',
    "%env HF_TOKEN=abcdef": "%env HF_TOKEN=***",
    "%env HF_TOKEN abcdef": "%env HF_TOKEN ***",
    "!curl -H 'X-Api-Key: abcdef' --token=abcdef x": "!curl -H 'X-Api-Key: ***' --token=*** x",
    "%%bash\nexport TOKEN=abcdef": "%%bash\nexport TOKEN=***",
    "found = !ls\npassword = 'hunter2'": "found = !ls\npassword = '***'",
}

HARMLESS = [
    'keys = ["image", "label"]',
    'LoadImaged(keys=["image"], image_key="image")',
    'tokenizer = "bert"',
    'pad_token = "[PAD]"',
    "max_tokens = 512",
    'password = os.environ["PASSWORD"]',
    'password = getpass("Password: ")',
    'token = os.environ.get("HF_TOKEN")',
    'token = ""',
    "password = None",
    'author = "Ada"',
    'pattern = pat = "*.nii.gz"',
    'link = f"postgresql://bob:{password}@db"',
    'clone = "ssh://git@example.org/x"',
    "http = 'http://127.0.0.1:5000/x'",
    "login(user, password=password)",
]


@pytest.mark.parametrize("source", MASKED)
def test_a_secret_in_the_code_is_masked_and_the_code_keeps_its_shape(source: str) -> None:
    assert mask_source(source).text == MASKED[source]


@pytest.mark.parametrize("source", HARMLESS)
def test_harmless_code_is_kept_as_it_is(source: str) -> None:
    assert mask_source(source).text == source


def test_lines_stay_where_they_are() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
    source = f'a = 1\nsecret = """one\ntwo\n"""\nfile = """{key}"""\nb = 2\n'
    masked = mask_source(source).text
    assert "two" not in masked
    assert "MIIE" not in masked
    (*_, last) = ast.parse(masked).body
    assert last.lineno == source.split("\n").index("b = 2") + 1


def test_a_text_is_masked_by_shape_and_by_what_the_code_held() -> None:
    known = mask_source("password = 'correct horse'").values
    text = "    login('correct horse', token='abcdef')\nHTTPError: https://bob:pw@host refused correct horse"
    assert mask_text(text, known) == "    login('***', token='***')\nHTTPError: https://bob:***@host refused ***"


def test_values_given_by_name_are_masked_and_numbers_stay_numbers() -> None:
    given = {"passphrase": "open", "lr": "0.1", "db": "mysql://bob:pw@db/x", "n_tokens": "3", "gh": "ghp_0123456789ab"}
    masked = {name: Guard().text(value, "param", name=name).text for name, value in given.items()}
    assert masked == {"passphrase": "***", "lr": "0.1", "db": "mysql://bob:***@db/x", "n_tokens": "3", "gh": "***"}


@pytest.mark.parametrize(
    "text",
    ["google-auth==2.41.1\n", '{"google-auth": "2.41"}', '{"secretstorage": "3.3.3rc1"}', "passlib==1.7.4+local\n"],
)
def test_the_version_of_a_package_is_no_secret(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("source", MASKED)
def test_the_first_look_misses_no_secret(source: str) -> None:
    assert may_hold_secret(source)
