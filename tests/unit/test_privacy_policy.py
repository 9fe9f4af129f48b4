"""The project says what is done about identifiers, and the user is told what was done, never whose it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lab.errors import MlopsLabError
from mlops_lab.privacy import BadPolicy, Guard, Kind, Known, Policy, read_policy, summary

NHS = "943 476 5919"
SWITCHES = ("printed_output", "sample_images", "uncommitted_changes", "notebook_snapshot")


def project(folder: Path, text: str) -> Path:
    (folder / "mlops.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_project_without_a_policy_switches_nothing_on_and_replaces(tmp_path: Path) -> None:
    for folder in (tmp_path, project(tmp_path, "[datasets.brain]\nrole = 'role'\n")):
        policy = read_policy(folder)
        assert policy == Policy()
        assert not any(getattr(policy, name) for name in SWITCHES)
        assert policy.action(Kind.NHS_NUMBER) == "replace"
        assert policy.action(Kind.DICOM_FILE) == "block"


def test_a_policy_is_read_with_its_study_ids(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text(
        "Patient;Study\nDOE^JANE;S-001\nH123456;S-001\n\nROE^RICHARD;S-002\n", encoding="utf-8"
    )
    text = """
    [privacy]
    printed_output = true
    hospital_numbers = ['RXH\\d{7}', 'ZZ-\\d+']
    study_ids = "ids.csv"
    allow = ['team@example\\.org', '/home/shared']

    [privacy.actions]
    nhs_number = "block"
    email = "warn"
    """
    guard = Guard(read_policy(project(tmp_path, text)))
    assert guard.policy.printed_output
    assert not guard.policy.sample_images
    assert guard.text("/data/Doe_Jane/RXH1234567.nii").text == "/data/S-001/<hospital number>.nii"
    assert guard.text("h123456 and ZZ-12").text == "S-001 and <hospital number>"
    assert guard.text("team@example.org in /home/shared/x, not ada@example.org in /home/ada/x").text == (
        "team@example.org in /home/shared/x, not ada@example.org in ~/x"
    )
    blocked = guard.text(f"NHS number {NHS}")
    assert blocked.blocked
    assert blocked.text == ""
    path = tmp_path / "report.txt"
    path.write_text(f"born 1961-03-12, {NHS}")
    verdict = guard.file(path)
    assert (verdict.outcome, verdict.findings[0].kind) == ("block", Kind.NHS_NUMBER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("privacy = 1", "privacy is not a table"),
        ("[privacy\n", "cannot be read"),
        ("[privacy]\nprinted_output = 'yes'", "neither true nor false"),
        ("[privacy]\nhospital_number = []", "no setting hospital_number"),
        ("[privacy]\nhospital_numbers = 'RXH'", "not a list of texts"),
        ("[privacy]\nhospital_numbers = ['(']", "no regular expression"),
        ("[privacy]\nallow = ['x*']", "matches an empty text"),
        ("[privacy]\nactions = 3", "not a table"),
        ("[privacy.actions]\nnhs = 'block'", "no kind nhs"),
        ("[privacy.actions]\nnhs_number = 'delete'", "none of block, replace, warn"),
        ("[privacy.actions]\ndicom_file = 'warn'", "always blocked"),
        ("[privacy.actions]\nunreadable = 'replace'", "none of block, warn"),
        ("[privacy]\nstudy_ids = 3", "not the name of a table"),
        ("[privacy]\nstudy_ids = 'nothing.csv'", "cannot be read"),
        ("[privacy]\nstudy_ids = 'wrong.csv'", "no columns patient and study"),
        ("[privacy]\nstudy_ids = 'twice.csv'", "two study ids"),
        ("[privacy]\nstudy_ids = 'none.csv'", "no study id"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_sentence_that_names_no_patient(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    (tmp_path / "twice.csv").write_text("patient,study\nDOE^JANE,S1\nDOE^JANE,S2\n")
    (tmp_path / "none.csv").write_text("patient,study\nDOE^JANE,\n")
    with pytest.raises(BadPolicy, match=said) as caught:
        read_policy(project(tmp_path, text))
    assert isinstance(caught.value, MlopsLabError)
    assert "\n" not in str(caught.value)
    assert "DOE" not in str(caught.value)


SPELLINGS = (
    "DOE^JANE",
    "Doe, Jane",
    "jane doe",
    "DOE  JANE",
    "J. Doe",
    "DOE%5EJANE",
    "Jane\\u0020Doe",
    "\x1b[31mDoe Jane\x1b[0m",
    "/out/doe_jane_19610312_seg.nii.gz",
    "/x/raw/doe_jane_19610312.nii.gz",
    "RXH1234567",
)


def test_every_guard_that_knows_the_same_data_names_a_case_alike() -> None:
    known = Known({"DOE^JANE": "9e107d9d", "raw/doe_jane_19610312.nii.gz": "9e107d9d", "RXH-123 4567": "9e107d9d"})
    for guard in (Guard(known=known), Guard(known=Known() + known)):
        for text in SPELLINGS:
            screened = guard.text(text).text
            assert "9e107d9d" in screened, text
            assert "oe" not in screened.lower(), text
            assert guard.text(screened).text == screened


def test_a_study_id_stands_before_a_hash_and_what_is_learned_later_counts() -> None:
    guard = Guard(Policy(studies={"DOE^JANE": "S-001"}), Known({"DOE^JANE": "9e107d9d"}))
    assert guard.text("doe_jane").text == "S-001"
    assert guard.name("dice/ROE_XAN").text == "dice/ROE_XAN"
    guard.learn(Known({"ROE^XAN": "S-002"}))
    assert guard.name("dice/ROE_XAN").text == "dice/S-002"
    assert guard.text("PatientID: S-002").text == "PatientID: S-002"


def test_short_numbers_are_found_only_where_a_patient_would_stand() -> None:
    guard = Guard(known=Known({"1234": "S-001", "17": "S-002"}))
    assert guard.text("/data/1234/t1.nii.gz").text == "/data/S-001/t1.nii.gz"
    assert guard.text("patient_1234").text == "patient_S-001"
    assert guard.text("batch 1234 of 1234, epoch 17").text == "batch 1234 of 1234, epoch 17"


def test_names_stay_names_and_two_persons_stay_two() -> None:
    guard = Guard()
    first, second = guard.name("dice/9434765919").text, guard.name("dice/943 476 5870").text
    assert first != second
    assert guard.name("dice/943-476-5919x").text == "dice/943-476-5919x"
    for name in (first, second, guard.name("DOE^JANE.nii").text, guard.name("a@b.org").text):
        assert not set(name) & set("<>~^@")
        assert guard.name(name).text == name
    assert guard.name("train/loss") is guard.name("train/loss")


def test_a_value_is_told_by_the_name_it_is_recorded_under() -> None:
    guard = Guard()
    assert guard.text("ABC123", "param", name="PatientID").text == "<id>"
    assert guard.text("Jane Roe", "param", name="patient_name").text == "<name>"
    assert guard.text("1961-03-12", "param", name="dob").text == "<date>"
    assert guard.text("DOE^J", "param", name="0010|0010").text == "<name>"
    assert guard.text("0.1", "param", name="lr").text == "0.1"
    assert guard.text("sub-012", "param", name="patient_id").text == "sub-012"


def test_the_user_reads_what_was_changed_in_one_sentence() -> None:
    guard = Guard()
    found = [*guard.text("/home/ada/x /Users/ada/y", "param").findings, *guard.text(NHS, "traceback").findings]
    assert summary(found) == "2 file paths and 1 NHS number were replaced in what this run records."
    assert found[0].sentence == "2 file paths in param were replaced."
    assert (found[0].kind, found[0].where, found[0].action, found[0].count) == (Kind.PATH, "param", "replace", 2)
    assert summary([]) == ""
    warned = Guard(Policy(actions={Kind.EMAIL: "warn"})).text(f"ada@example.org {NHS}", where="notes.txt")
    assert warned.text == "ada@example.org <nhs number>"
    assert summary(warned.findings) == (
        "1 NHS number was replaced and 1 e-mail address was left in place in what this run records."
    )
    assert [finding.where for finding in warned.findings] == ["notes.txt"] * 2
    assert "DOE" not in guard.text(NHS, where="DOE^JANE.txt").findings[0].sentence


def test_one_guard_masks_secrets_and_identifiers_alike() -> None:
    guard = Guard()
    cell = f"password = 'correct horse'\nnhs = '{NHS}'\n"
    screened = guard.source(cell)
    assert screened.text == "password = '***'\nnhs = '<nhs number>'\n"
    assert {finding.kind for finding in screened.findings} == {Kind.SECRET, Kind.NHS_NUMBER}
    assert guard.text("hunter2", "param", name="db_password").text == "***"
    assert guard.text("512", "param", name="input_tokens").text == "512"
    assert guard.text("refused: correct horse", "traceback").text == "refused: ***"
    assert guard.text("pip install git+https://ada:hunter2@example.org/x.git", "url").text == (
        "pip install git+https://ada:***@example.org/x.git"
    )
    assert Guard(Policy(actions={Kind.SECRET: "block"})).text("token = 'abcdef'").blocked


CELLS = {
    "nhs = 9434765919": 'nhs = "<nhs number>"',
    "patient_name = 'Jane Roe'": "patient_name = '<name>'",
    "patient_name = row['name']": "patient_name = row['name']",
    "patient_id = get_id(row)": "patient_id = get_id(row)",
    "doe_jane = load(1)\nprint(doe_jane)": "S_001 = load(1)\nprint(S_001)",
    "x = f'{doe_jane}: 943 476 5919'": "x = f'{S_001}: <nhs number>'",
    "df[df.PatientID == 'AB12345']": "df[df.PatientID == '<id>']",
    "y = a ^ b  # DOE^JANE": "y = a ^ b  # S-001",
    "%cd /home/ada/x\npath = r'C:\\Users\\ada\\x'": "%cd ~/x\npath = r'~\\x'",
    "z = {'PatientID': 1234567, 'lr': 0.1}": "z = {'PatientID': \"<id>\", 'lr': 0.1}",
    "'''born\n12 March 1961'''": "'''born\n12 March 1961'''",
}


@pytest.mark.parametrize("cell", CELLS)
def test_code_keeps_its_meaning_where_it_can(cell: str) -> None:
    assert Guard(known=Known({"DOE^JANE": "S-001"})).source(cell).text == CELLS[cell]
