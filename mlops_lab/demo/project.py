"""Builds the demo project: a git and DVC repository with two versions of one dataset of simulated subjects.

The project is built in a hidden sibling directory and renamed when it is complete, so that an interrupted build
leaves no half project behind.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from . import brain
from .errors import DemoError, DirectoryInUse, MissingComponent

DATASET = "brain"
FIRST, SECOND = "brain@v1.0.0", "brain@v2.0.0"
"""The two versions, as git tags in GTO's notation."""
NOTEBOOK = "quickstart.ipynb"
ROLES = {"train": 12, "tune": 4, "test": 8}
"""How many subjects each role has, in the order of their numbers."""

_DATA = Path("data") / DATASET
_WRONG_SLICE = len(brain.SLICE_HEIGHTS) - 1
_TEMPLATE = Path(__file__).parent / "template"
_IDENTITY = ("mlops_lab demo", "demo@mlops-lab.invalid")

Report = Callable[[str], None]


def build_demo(directory: str | os.PathLike[str], report: Report = print) -> Path:
    """Build the demo project, or reuse the finished one that stands there.

    Parameters
    ----------
    directory
        Where the project shall stand; must not exist, be empty, or hold a finished demo project.
    report
        Called with one sentence per step.

    Returns
    -------
    Path
        The absolute path of the project.

    Raises
    ------
    DirectoryInUse
        When `directory` holds something else.
    MissingComponent
        When git, DVC or a Python package of the demo is not installed.
    DemoError
        When a step fails.
    """
    target = Path(directory).expanduser().absolute()
    if _reusable(target):
        report(f"The demo project stands already in {target}.")
        return target
    _require_programs()
    report(f"Building the demo project in {target} (about ten seconds).")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        with tempfile.TemporaryDirectory(prefix="mlops-lab-demo-") as settings, _building(target) as draft:
            _fill(draft, _environment(Path(settings)), report)
            _put(draft, target)
    except OSError as error:
        raise DemoError(
            f"The demo project could not be written to {target}: {error.strerror or error}.",
            "Choose another directory, or make room on the disk.",
        ) from error
    report(f"The demo project stands in {target}.")
    return target


def notebook_source() -> Path:
    """Find the quickstart notebook: inside the installed package, or in the checkout that this package runs from."""
    here = Path(__file__).parent
    checkout = here.parent.parent
    found = (checkout if (checkout / "setup.cfg").is_file() else here) / "notebooks" / NOTEBOOK
    if found.is_file():
        return found
    raise DemoError(
        "The quickstart notebook is missing from this installation of mlops_lab.",
        "Install it again with: pip install --force-reinstall mlops-lab",
    )


def _fill(project: Path, environment: dict[str, str], report: Report) -> None:
    """Write every file of the project and record both versions, in an empty directory."""

    def git(*arguments: str) -> None:
        _run([*_git_command(environment), *arguments], project, environment)

    def dvc(*arguments: str) -> None:
        _run([sys.executable, "-m", "dvc", *arguments], project, environment)

    report("Simulating 24 subjects from one averaged brain.")
    corrections = _write_first_version(project / _DATA)

    report("Recording brain@v1.0.0, in which twelve training labels are wrong.")
    git("init", "--quiet", "--initial-branch=main")
    dvc("init", "--quiet")
    (project / ".dvc" / "config").write_text(_DVC_CONFIG, encoding="utf-8")
    (project / ".dvc" / "config.local").write_text(_DVC_REMOTE, encoding="utf-8")
    with open(project / ".dvc" / ".gitignore", "a", encoding="utf-8") as ignored:
        ignored.write("/storage\n")
    for source in _TEMPLATE.iterdir():
        shutil.copyfile(source, project / (".gitignore" if source.name == "gitignore" else source.name))
    shutil.copyfile(notebook_source(), project / NOTEBOOK)
    dvc("add", "--quiet", _DATA.as_posix())
    git("add", "--all")
    git("commit", "--quiet", "--message", _FIRST_MESSAGE)
    git("tag", "--annotate", FIRST, "--message", "Twelve training labels are wrong.")
    dvc("push", "--quiet")

    report("Recording brain@v2.0.0, in which they are corrected.")
    _wait_for_next_second()
    for label, content in corrections.items():
        label.write_bytes(content)
    dvc("add", "--quiet", _DATA.as_posix())
    git("commit", "--quiet", "--all", "--message", _SECOND_MESSAGE)
    git("tag", "--annotate", SECOND, "--message", "Twelve training labels corrected.")
    dvc("push", "--quiet")


_DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
"""
# Not in the committed configuration: when DVC reads that from an older commit, it takes a relative path as one below
# the root of the file system, and `dvc push --all-tags` would write there.
_DVC_REMOTE = """\
[core]
    remote = storage
['remote "storage"']
    url = storage
"""
_FIRST_MESSAGE = """Add simulated brain slices with grey- and white-matter labels

24 subjects simulated from one averaged brain, four axial slices each.
"""
_SECOND_MESSAGE = """Correct twelve training labels

In the topmost slice of every training subject grey and white matter were
swapped. Tune and test subjects are unchanged, byte for byte.
"""


def _subjects() -> Iterator[tuple[str, str]]:
    """Give every subject's name and role, in order."""
    number = 0
    for role, count in ROLES.items():
        for _ in range(count):
            number += 1
            yield f"sub-{number:03d}", role


def _file_name(subject: str, index: int, kind: str) -> str:
    return f"{subject}_slice-{index + 1}_{kind}.nii.gz"


def _write_first_version(folder: Path) -> dict[Path, bytes]:
    """Write the dataset as v1.0.0 has it; give the content of the labels that v2.0.0 corrects."""
    template = brain.load_brain()
    corrections: dict[Path, bytes] = {}
    rows = ["participant_id\trole\tsimulated"]
    for number, (name, role) in enumerate(_subjects(), start=1):
        rows.append(f"{name}\t{role}\ttrue")
        (folder / name).mkdir(parents=True)
        for index, piece in enumerate(brain.simulate_subject(template, number)):
            image, label = (folder / name / _file_name(name, index, kind) for kind in ("image", "label"))
            image.write_bytes(brain.nifti_bytes(piece.image, piece.affine))
            drawn = piece.label
            if role == "train" and index == _WRONG_SLICE:
                corrections[label] = brain.nifti_bytes(piece.label, piece.affine)
                drawn = brain.swap_grey_and_white(piece.label)
            label.write_bytes(brain.nifti_bytes(drawn, piece.affine))
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    return corrections


def _reusable(target: Path) -> bool:
    """Say whether a finished demo project stands in `target`.

    Raises
    ------
    DirectoryInUse
        When something else stands there.
    """
    if not target.exists() and not target.is_symlink():
        return False
    hint = "Choose another directory with --dir."
    if not target.is_dir():
        raise DirectoryInUse(f"{target} is not a directory, so the demo project cannot stand there.", hint)
    if not any(target.iterdir()):
        return False
    parts = (NOTEBOOK, "mlops.toml", f"{_DATA.as_posix()}.dvc", f"{_DATA.as_posix()}/participants.tsv")
    if not all((target / part).is_file() for part in parts) or not _tagged(target):
        raise DirectoryInUse(
            f"{target} holds something that is not a finished demo project; nothing was changed.", hint
        )
    return True


def _tagged(project: Path) -> bool:
    """Say whether `project` is the top of a git repository that has both versions."""
    if not (project / ".git").exists() or shutil.which("git") is None:
        return False
    for tag in (FIRST, SECOND):
        asked = ["git", "-C", str(project), "rev-parse", "--quiet", "--verify", f"refs/tags/{tag}"]
        if subprocess.run(asked, capture_output=True, env=_without_git_settings(), check=False).returncode:
            return False
    return True


@contextmanager
def _building(target: Path) -> Iterator[Path]:
    """Give an empty sibling of `target` to build in, and remove what is left of it in the end."""
    draft = target.with_name(f"{_draft_prefix(target)}{os.getpid()}")
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(draft: Path, target: Path) -> None:
    """Rename the finished project to its place; another build of the same project may have been faster."""
    try:
        draft.rename(target)
    except OSError:
        if not _reusable(target):
            raise


def _wait_for_next_second() -> None:
    # git's dates have whole seconds: two versions of the same second would have no order by date.
    began = int(time.time())
    while int(time.time()) == began:
        time.sleep(0.05)


def _draft_prefix(target: Path) -> str:
    return f".{target.name}.building-"


def _remove_leftovers(target: Path) -> None:
    """Remove the drafts of builds of this project that were killed."""
    for draft in target.parent.glob(f"{glob.escape(_draft_prefix(target))}*"):
        pid = draft.name.removeprefix(_draft_prefix(target))
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(draft, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _require_programs() -> None:
    if shutil.which("git") is None:
        raise MissingComponent("The program git is not installed, or not on the PATH.", "Install git and try again.")
    if find_spec("dvc") is None:
        raise MissingComponent(
            "DVC is not installed in this environment.", "Install it with: pip install 'mlops-lab[demo]'"
        )


def _without_git_settings() -> dict[str, str]:
    """Give the environment without GIT_DIR and its like, which would point git at another repository."""
    kept = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG", "GIT_EXEC_PATH", "GIT_SSL")
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(kept)}


def _environment(settings: Path) -> dict[str, str]:
    """Give the environment for git and DVC: no analytics, no update check, and no state left outside the project."""
    (settings / "config").write_text("[core]\n    analytics = false\n    check_update = false\n", encoding="utf-8")
    return _without_git_settings() | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(settings),
        "DVC_SYSTEM_CONFIG_DIR": str(settings),
        "DVC_SITE_CACHE_DIR": str(settings / "site"),
    }


def _git_command(environment: dict[str, str]) -> list[str]:
    """Give the git command without hooks and signing, and with a name for the commits where the user has set none."""
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false"]
    asked = ["git", "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"]
    if subprocess.run(asked, capture_output=True, env=environment, check=False).returncode:
        command += ["-c", f"user.name={_IDENTITY[0]}", "-c", f"user.email={_IDENTITY[1]}"]
    return command


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        tool = "DVC" if "dvc" in command[1:3] else "git"
        raise DemoError(
            f"{tool} could not build the demo project: {said[-1] if said else f'exit status {done.returncode}'}.",
            "Check that there is room on the disk and that `git --version` and `dvc --version` answer.",
        )
