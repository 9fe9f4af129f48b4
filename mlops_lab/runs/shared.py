"""Says whether compared runs saw the same bytes, role by role, or why that cannot be known.

A figure on other test cases is another figure: this verdict stands above every comparison, and it never guesses. It
is about the data that the runs were given; what their code opened of them it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.model import RoleDigest
from ..datasets.participants import UNASSIGNED
from .model import RunRow, SharedData

DATASET = "dataset"
"""Stands in for a role where a project declares none: the dataset as a whole."""

_ORDER = ("test", "tune", "train")


def shared_data(runs: Sequence[RunRow], labels: Sequence[str]) -> list[SharedData]:
    """Give the verdict per role, the test role first.

    Parameters
    ----------
    runs
        Two or more runs.
    labels
        How each run is called on the screen, in the same order.
    """
    silent = [label for run, label in zip(runs, labels, strict=True) if not run.data]
    if silent:
        recorded = f"{_names(silent)} recorded no dataset"
        return [SharedData("test", None, f"{recorded}: whether {_the_runs(runs)} saw the same data cannot be known.")]
    roles = [_roles(run) for run in runs]
    if any(not one for one in roles):
        return _without_roles(runs, labels, [label for one, label in zip(roles, labels, strict=True) if not one])
    known = {role for one in roles for role in one}
    ordered = [role for role in _ORDER if role in known] + sorted(known.difference(_ORDER))
    verdicts = [_role(role, runs, roles, labels) for role in ordered]
    if "test" not in known:
        nobody = f"No test data are declared for {_the_runs(runs)}: which cases they were tested on cannot be known."
        verdicts.insert(0, SharedData("test", None, nobody))
    return verdicts


def versions(run: RunRow) -> str:
    """Give the dataset versions of a run as people call them, e.g. ``"brain v2.0.0"``."""
    return " and ".join(sorted(f"{used.name} {used.version}".strip() for used in run.data))


def _roles(run: RunRow) -> dict[str, list[RoleDigest]]:
    """Digests per role over all datasets of a run; empty when one of them declares no roles."""
    roles: dict[str, list[RoleDigest]] = {}
    for used in run.data:
        if not used.roles.keys() - {UNASSIGNED}:
            return {}
        for role, digest in used.roles.items():
            if role != UNASSIGNED:
                roles.setdefault(role, []).append(digest)
    return roles


def _unassigned(run: RunRow) -> tuple[str, ...]:
    """Digests of the files that belong to no role, over all datasets of a run."""
    return tuple(sorted(used.roles[UNASSIGNED].digest for used in run.data if UNASSIGNED in used.roles))


def _without_roles(runs: Sequence[RunRow], labels: Sequence[str], undeclared: Sequence[str]) -> list[SharedData]:
    whole = [tuple(sorted(used.md5 for used in run.data)) for run in runs]
    if len(set(whole)) == 1:
        same = (
            f"{_the_runs(runs, capital=True)} were given the same dataset, byte for byte: {versions(runs[0])}. "
            "Its test part is not declared for every run, so check that the code split it in the same way."
        )
        return [SharedData(DATASET, True, same)]
    unknown = (
        f"Which files are test data is not declared for {_names(undeclared)}: "
        f"whether {_the_runs(runs)} were tested on the same cases cannot be known."
    )
    groups = _groups(whole)
    given = "; ".join(f"{_names([labels[i] for i in group])}: {versions(runs[group[0]])}" for group in groups)
    return [
        SharedData("test", None, unknown),
        SharedData(DATASET, False, f"The runs were given different dataset versions ({given})."),
    ]


def _role(
    role: str, runs: Sequence[RunRow], roles: Sequence[dict[str, list[RoleDigest]]], labels: Sequence[str]
) -> SharedData:
    lacking = [label for one, label in zip(roles, labels, strict=True) if role not in one]
    if lacking:
        why = f"{_names(lacking)} declared no {role} data"
        return SharedData(role, None, f"{why}: whether {_the_runs(runs)} share them cannot be known.")
    digests = [tuple(sorted(part.digest for part in one[role])) for one in roles]
    groups = _groups(digests)
    if len(groups) == 1 and len({_unassigned(run) for run in runs}) > 1:
        unsure = (
            f"The {role} files are the same {_amount(roles[0][role])}, but files that belong to no role differ between "
            "the versions, and labels may be among them."
        )
        return SharedData(role, None, unsure)
    if len(groups) == 1:
        statement = f"{_the_runs(runs, capital=True)} were given the same {role} data: {_amount(roles[0][role])}."
        return SharedData(role, True, statement)
    parts = []
    for group in groups:
        first = group[0]
        amount = f"{'the same ' if len(group) > 1 else ''}{_amount(roles[first][role])}"
        who = _names([labels[i] for i in group])
        parts.append(f"{who}: {amount} of {versions(runs[first])}")
    return SharedData(role, False, f"The runs were given different {role} data ({'; '.join(parts)}).")


def _groups(keys: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Indices of equal keys together, in order of first appearance."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _the_runs(runs: Sequence[RunRow], capital: bool = False) -> str:
    words = "both runs" if len(runs) == 2 else f"all {len(runs)} runs"
    return words[0].upper() + words[1:] if capital else words


def _names(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _amount(parts: Sequence[RoleDigest]) -> str:
    files, subjects = sum(part.files for part in parts), sum(part.subjects for part in parts)
    counted = f"{files} file{'' if files == 1 else 's'}"
    return f"{counted} of {subjects} subject{'' if subjects == 1 else 's'}" if subjects else counted
