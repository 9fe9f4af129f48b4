"""A backup of the bucket holds every object, costs only what is new, and brings the bucket back as it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlops_server import bucket, objects
from mlops_server.settings import ObjectStore as Bucket
from mlops_server.settings import Refusal

from tests.stack.services import MlflowImage, ObjectStore

pytestmark = pytest.mark.xdist_group("image-bucket")

BIG = os.urandom(20 << 20)
"""Large enough to travel in parts."""
OBJECTS = {
    "1/run/artifacts/model.pt": BIG,
    "1/run/artifacts/curve.png": b"same",
    "2/run/artifacts/curve.png": b"same",
    "2/run/artifacts/empty.txt": b"",
    "2/run/artifacts/Bef\u00fcnde %+& \u5f71 final.nii.gz": b"a name with everything",
    "3/" + "deep/" * 150 + "x" * 200: b"a name that is too long for many file systems",
}


@pytest.fixture
def store(object_store: ObjectStore) -> Bucket:
    """The bucket with OBJECTS in it and nothing else."""
    here = Bucket.read(object_store.environment)
    bucket.seed(Bucket.read_root(object_store.environment), here, make_key=False)
    s3 = bucket.client(here)
    for key in contents(here):
        s3.delete_object(Bucket=here.bucket, Key=key)
    for key, body in OBJECTS.items():
        put(here, key, body)
    return here


def put(store: Bucket, key: str, body: bytes) -> None:
    """Store one object as MLflow does."""
    extra = {"ContentType": "image/png"} if key.endswith(".png") else {}
    bucket.client(store).put_object(Bucket=store.bucket, Key=key, Body=body, **extra)


def contents(store: Bucket) -> dict[str, str]:
    """What is in the bucket, by checksum."""
    s3 = bucket.client(store)
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=store.bucket):
        for one in page.get("Contents", []):
            body = s3.get_object(Bucket=store.bucket, Key=one["Key"])["Body"].read()
            found[one["Key"]] = hashlib.sha256(body).hexdigest()
    return found


def stored(folder: Path) -> dict[str, int]:
    """The contents that a backup holds, with the file each one is in."""
    return {file.name: file.stat().st_ino for file in (folder / objects.CONTENTS).glob("*/*")}


def test_what_was_saved_comes_back_and_what_came_later_goes(store: Bucket, tmp_path: Path) -> None:
    before = contents(store)
    assert before.keys() == OBJECTS.keys()

    saved = objects.save(store, tmp_path / "backup")

    assert (saved.objects, saved.copied, saved.unchanged) == (len(OBJECTS), len(OBJECTS), 0)
    assert saved.bytes == sum(map(len, OBJECTS.values()))
    assert len(stored(tmp_path / "backup")) == len(set(OBJECTS.values()))

    s3 = bucket.client(store)
    s3.delete_object(Bucket=store.bucket, Key="1/run/artifacts/model.pt")
    put(store, "1/run/artifacts/curve.png", b"changed")
    put(store, "9/run/artifacts/later.txt", b"later")
    loaded = objects.load(store, tmp_path / "backup")

    assert contents(store) == before
    assert (loaded.copied, loaded.unchanged, loaded.removed) == (2, len(OBJECTS) - 2, 1)
    picture = s3.head_object(Bucket=store.bucket, Key="1/run/artifacts/curve.png")
    assert picture["ContentType"] == "image/png"


def test_a_second_backup_takes_room_only_for_what_is_new(store: Bucket, tmp_path: Path) -> None:
    first, second = tmp_path / "monday", tmp_path / "tuesday"
    objects.save(store, first)
    put(store, "1/run/artifacts/curve.png", b"another curve")
    put(store, "9/run/artifacts/later.txt", b"later")
    bucket.client(store).delete_object(Bucket=store.bucket, Key="2/run/artifacts/empty.txt")

    saved = objects.save(store, second, previous=first)

    assert (saved.objects, saved.copied, saved.unchanged) == (len(OBJECTS), 2, len(OBJECTS) - 2)
    shared = stored(first).keys() & stored(second).keys()
    assert hashlib.sha256(BIG).hexdigest() in shared
    assert all(stored(first)[name] == stored(second)[name] for name in shared)
    now = contents(store)
    objects.load(store, first)
    assert contents(store) != now
    objects.load(store, second)
    assert contents(store) == now


def test_a_content_that_the_backup_before_lost_is_fetched_again(store: Bucket, tmp_path: Path) -> None:
    first, second = tmp_path / "monday", tmp_path / "tuesday"
    objects.save(store, first)
    lost = next((first / objects.CONTENTS).glob(f"*/{hashlib.sha256(BIG).hexdigest()}"))
    lost.unlink()

    saved = objects.save(store, second, previous=first)

    assert (saved.copied, saved.repaired) == (1, 1)
    assert hashlib.sha256(BIG).hexdigest() in stored(second)


def test_a_content_that_rotted_in_the_backup_before_is_fetched_again(store: Bucket, tmp_path: Path) -> None:
    first, second, third = tmp_path / "monday", tmp_path / "tuesday", tmp_path / "wednesday"
    objects.save(store, first)
    for content in (BIG, b"same"):
        rotted = next((first / objects.CONTENTS).glob(f"*/{hashlib.sha256(content).hexdigest()}"))
        with rotted.open("r+b") as file:
            file.write(b"rot")
    # A link to the damage, as an older version made it before it was interrupted.
    link = second / rotted.relative_to(first)
    link.parent.mkdir(parents=True)
    os.link(rotted, link)

    saved = objects.save(store, second, previous=first)

    # Two objects have one of the two contents.
    assert saved.repaired in (2, 3)
    assert (saved.objects, saved.copied) == (len(OBJECTS), saved.repaired)
    assert not list(second.glob("**/*.part"))
    assert objects.check(second).objects == len(OBJECTS)
    assert objects.save(store, third, previous=second).copied == 0
    with pytest.raises(Refusal, match="has changed since"):
        objects.check(first)


def test_a_damaged_backup_changes_nothing(store: Bucket, tmp_path: Path) -> None:
    objects.save(store, tmp_path / "backup")
    file = next((tmp_path / "backup" / objects.CONTENTS).glob(f"*/{hashlib.sha256(BIG).hexdigest()}"))
    with file.open("r+b") as damaged:
        damaged.seek(1 << 20)
        damaged.write(b"x" * 8)
    put(store, "9/run/artifacts/later.txt", b"later")
    before = contents(store)

    with pytest.raises(Refusal, match="Nothing was changed"):
        objects.load(store, tmp_path / "backup")

    assert contents(store) == before


def test_an_unfinished_backup_is_not_loaded_but_can_be_continued(store: Bucket, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    objects.save(store, folder)
    (folder / objects.MANIFEST).unlink()
    (folder / objects.CONTENTS / "half.part").write_bytes(b"half")

    with pytest.raises(Refusal, match="no finished backup"):
        objects.load(store, folder)

    assert objects.save(store, folder).objects == len(OBJECTS)
    assert not list(folder.glob("**/*.part"))
    with pytest.raises(Refusal, match="finished backup already"):
        objects.save(store, folder)


@pytest.mark.parametrize("damage", ["", "{}\n", "not JSON\n", '{"format": "another"}\n', "cut"])
def test_a_damaged_manifest_is_told(store: Bucket, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    head = json.dumps({"format": objects.FORMAT, "bucket": "mlflow", "objects": 3}) + "\n"
    (folder / objects.MANIFEST).write_text(head if damage == "cut" else damage)

    with pytest.raises(Refusal, match=r"damaged|another version"):
        objects.load(store, folder)


@pytest.mark.parametrize("verb", ["load", "check"])
def test_a_manifest_that_cannot_be_read_is_told_in_one_sentence(
    object_store: ObjectStore, tmp_path: Path, verb: str
) -> None:
    (tmp_path / objects.MANIFEST).mkdir()

    refused = MlflowImage(tmp_path / "image", environment=object_store.environment).run("objects", verb, str(tmp_path))

    assert refused.returncode == 1
    assert refused.stderr == f"{tmp_path / objects.MANIFEST} cannot be used: Is a directory.\n"


def test_the_operators_command_reads_the_numbers(store: Bucket, object_store: ObjectStore, tmp_path: Path) -> None:
    image = MlflowImage(tmp_path, environment=dict(object_store.environment))
    folder = tmp_path / "backup"

    saved: Any = json.loads(image.run("objects", "save", str(folder), "--json").stdout)
    checked = image.run("objects", "check", str(folder))
    loaded = image.run("objects", "load", str(folder))
    refused = image.run("objects", "save", str(folder))

    assert saved["objects"] == len(OBJECTS)
    assert saved["repaired"] == 0
    assert checked.stdout.endswith(f" bytes: 0 copied, {len(OBJECTS)} unchanged.\n")
    assert loaded.stdout.startswith(f"{len(OBJECTS)} objects, ")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
