"""Texts that look like identifiers and are none: what runs of machine learning are full of."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .people import not_nhs_number

ONE_A_LINE = Path(__file__).with_name("harmless.txt")


class Harmless(NamedTuple):
    """One text that must stay as it is."""

    kind: str
    text: str


def harmless(seed: int) -> Iterator[Harmless]:
    """Compose the corpus of one seed."""
    source = random.Random(seed)
    for text in ONE_A_LINE.read_text(encoding="utf-8").splitlines():
        yield Harmless(source.choice(("param", "tag", "text", "output")), text)
    for _ in range(8):
        for text in (*_hashes(source), *_times(source), *_numbers(source)):
            yield Harmless("param", text)
    yield from _long(source)
    for name in ("train/loss", "val_dice/class_1", "lr-Adam", "system/gpu_0_memory_usage_megabytes", "epoch"):
        yield Harmless("name", name)


def _hex(source: random.Random, size: int) -> str:
    return f"{source.getrandbits(4 * size):0{size}x}"


def _hashes(source: random.Random) -> Iterator[str]:
    identifier = uuid.UUID(int=source.getrandbits(128))
    for size in (7, 8, 12, 16, 32, 40, 64):
        yield _hex(source, size)
    yield f"md5 {_hex(source, 32)}"
    yield f"sha256:{_hex(source, 64)}"
    yield f"{identifier}"
    yield f"run {identifier.hex}"
    yield f"commit {_hex(source, 40)}"
    yield f"blob {_hex(source, 40)} {source.randrange(10**4, 10**7)}"
    yield f"etag {_hex(source, 32)}-{source.randrange(100)}"
    yield f"fold_{source.randrange(5)}/model_{_hex(source, 8)}.pt"
    yield f"https://zenodo.org/record/{source.randrange(10**6, 10**8)}/files/data.zip"
    yield f"https://doi.org/10.{source.randrange(1000, 9999)}/{_hex(source, 6)}"


def _times(source: random.Random) -> Iterator[str]:
    day = f"{source.randrange(2015, 2027)}-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}"
    clock = f"{source.randrange(24):02}:{source.randrange(60):02}:{source.randrange(60):02}"
    yield f"commit date {day}"
    yield f"Date: {day} {clock}"
    yield f"{day}T{clock}Z"
    yield f"{day}T{clock}.{source.randrange(10**6):06}+00:00"
    yield f"[{day} {clock}] epoch {source.randrange(100)} loss {source.random():.4f}"
    yield f"started {day} {clock}"
    yield f"run_{day.replace('-', '')}_{clock.replace(':', '')}"
    yield f"{day}_unet_{source.random():.2f}"
    yield f"created={day}"
    yield f"timestamp {source.randrange(1_600_000_000, 1_800_000_000)}"


def _numbers(source: random.Random) -> Iterator[str]:
    number = source.random()
    ten = not_nhs_number(source)
    sizes = [source.randrange(16, 513) for _ in range(3)]
    yield from (ten, f"count {ten}", f"id={ten}", f"offset: {ten}", f"{ten[:3]}-{ten[3:6]}-{ten[6:]}x")
    yield from (f"{number:.10f}", f"loss={number:.8f}", f"lr={number / 1000:.3e}", f"1e-{source.randrange(2, 8)}")
    yield f"{source.randrange(10)}.{source.randrange(30)}.{source.randrange(30)}"
    yield f"v{source.randrange(9)}.{source.randrange(9)}.0rc1"
    yield f"monai=={source.randrange(3)}.{source.randrange(9)}.{source.randrange(9)}+{_hex(source, 8)}"
    yield f"{tuple(sizes)}"
    yield f"shape=[1, {source.randrange(1, 9)}, {sizes[0]}, {sizes[1]}, {sizes[2]}]"
    yield f"[{sizes[0]} {sizes[1]} {sizes[2]}]"
    yield f"spacing ({number:.4f}, {number:.4f}, {source.uniform(1, 5):.2f})"
    yield f"dice_class_{source.randrange(20)}: {number:.6f}"
    yield f"epoch {source.randrange(1000)}/{source.randrange(1000, 2000)}"
    yield " ".join(f"{source.uniform(-200, 200):.6f}" for _ in range(3))
    yield f"gpu mem {source.randrange(10**9, 10**10) / 2**20:.1f} MiB"
    yield f"port {source.randrange(1024, 65535)}"
    yield f"seed: {source.randrange(2**32)}"
    yield f"{source.randrange(10**6, 10**8)} parameters"
    yield f"step={source.randrange(10**5)}"


_CELL = """import torch
from monai.networks.nets import UNet

max_epochs = 4
patients = load()
for patient_id, patient in patients.items():
    patient_name = patient['name']
    print(f'{patient_id}: {patient_name}')
model = UNet(3, 1, 2, (16, 32), (2,))
loss = (a ^ b) @ c.T
HEAD = x^y
"""
_TRACEBACK = """Traceback (most recent call last):
  File "/opt/conda/lib/python3.11/site-packages/monai/data/dataset.py", line 107, in __getitem__
    return self._transform(index)
  File "<ipython-input-3>", line 2, in <module>
    patient_id = row['patient_id']
RuntimeError: applying transform <monai.transforms.io.dictionary.LoadImaged object at 0x7f8a1c0b2d30>
"""
_DIFF = """diff --git a/train.py b/train.py
index 83db48f..bf269f4 100644
--- a/train.py
+++ b/train.py
@@ -10,7 +10,7 @@
-max_epochs = 100
+max_epochs = 200
+n_steps = 1234567890
"""
_AFFINE = "[[1. 0. 0. -90.]\n [0. 1. 0. -126.]\n [0. 0. 1. -72.]\n [0. 0. 0. 1.]]"


def _long(source: random.Random) -> Iterator[Harmless]:
    yield Harmless("source", _CELL)
    yield Harmless("traceback", _TRACEBACK)
    yield Harmless("diff", _DIFF)
    yield Harmless("text", _AFFINE)
    rows = "".join(f"case_{n:03},{source.random():.4f},{source.random() * 20:.3f}\n" for n in range(20))
    yield Harmless("text", f"filename,dice,hd95\n{rows}")
    yield Harmless("text", "   class     mean       std\n0  liver  0.9512  0.021234\n1  spleen 0.9434  0.031234\n")
    yield Harmless("json", '{"val_dice": [0.1234567890, 0.9434765918], "epoch": 3, "time": "2024-05-01T10:00:00"}')
    yield Harmless("text", "x: 1\noptimizer:\n  name: Adam\n  lr: 0.0001\npatient:\n  split: 0.8\n  count: 120\n")
