"""A journal in segments: nothing is missed while they come and go, and a thinned curve keeps what decides over it."""

from __future__ import annotations

import math
import random
import threading
import time
from pathlib import Path

import pytest

from mlops_lab import wire
from mlops_lab.tracking.journal import folders, segments, thinning
from mlops_lab.tracking.journal.writer import Journal
from mlops_lab.tracking.model import End, Metric, Param, Position, Record, Start, Tag


def made(key: str = "k", segment: int = 4000) -> Journal:
    written = Journal.create(Start(1, key, "experiment", "name", 1, "ada", {}))
    written._limit = segment
    return written


def metric(step: int, value: float = 0.5, name: str = "loss") -> Metric:
    return Metric(name, wire.to_number(value), step, step)


def steps(folder: Path, name: str = "loss") -> list[int]:
    return [record.step for record, _ in segments.read(folder) if isinstance(record, Metric) and record.key == name]


def test_a_journal_of_many_segments_reads_as_one_from_any_place(mlops_home: Path) -> None:
    written = made()
    for step in range(500):
        written.append(metric(step))
        if step % 7 == 0:
            written.look_after()
    written.close()
    assert len(segments.listed(written.folder)) > 5

    everything = list(segments.read(written.folder))
    assert [record.step for record, _ in everything[1:] if isinstance(record, Metric)] == list(range(500))
    for number, (_, offset) in enumerate(everything):
        rest = [record for record, _ in segments.read(written.folder, offset)]
        assert len(rest) == len(everything) - number - 1
    assert not segments.more(written.folder, Position(offset=everything[-1][1]))
    assert segments.more(written.folder, Position(offset=everything[-2][1]))


def test_a_reader_that_keeps_up_misses_nothing_when_a_new_segment_begins(mlops_home: Path) -> None:
    written = made(segment=1000)
    seen: list[int] = []
    offset = generation = 0
    generator = random.Random(4)
    for step in range(2000):
        written.append(metric(step))
        if generator.random() < 0.2:
            written.look_after()
        if generator.random() < 0.1:
            for record, line in segments.records(written.folder, offset, generation):
                offset, generation = line.offset, line.generation
                if isinstance(record, Metric):
                    seen.append(record.step)
    written.close()
    seen += [r.step for r, _ in segments.records(written.folder, offset, generation) if isinstance(r, Metric)]
    assert seen == list(range(2000))


def test_threads_that_write_while_segments_come_and_go_lose_and_tear_nothing(mlops_home: Path) -> None:
    written = made(segment=2000)
    names = [f"series {number}" for number in range(4)]

    def write(name: str) -> None:
        for step in range(3000):
            written.append(metric(step, name=name))
            if step % 20 == 0:
                time.sleep(0.0001)  # lets the others have their turn

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        written.look_after()
    written.close()
    assert len(segments.listed(written.folder)) > 5
    for name in names:
        assert steps(written.folder, name) == list(range(3000))
    assert written.written == 12_001


def test_a_segment_that_is_thinned_while_it_is_read_is_begun_again_and_nothing_is_missed(mlops_home: Path) -> None:
    written = made(segment=60_000)
    for step in range(3000):
        written.append(metric(step))
        if step % 50 == 0:
            written.look_after()
    written.append(Tag("after", "yes"))
    written.close()
    reading = segments.records(written.folder)
    for _ in range(1000):
        _, line = next(reading)
    (victim,) = [one for one in segments.listed(written.folder) if one.base < line.offset][-1:]
    assert victim.base > 0
    freed = thinning.thin_segment(written.folder, victim.base, victim.generation, thinning.any_series)
    assert freed > 0

    # Who reads on has the old one open; who begins again from the remembered place reads the new one from its start.
    assert [record.step for record, _ in reading if isinstance(record, Metric)][-1] == 2999
    again = list(segments.records(written.folder, line.offset, line.generation))
    assert again[0][1].offset > victim.base
    resumed = [record.step for record, _ in again if isinstance(record, Metric)]
    before = [record.step for record, one in segments.records(written.folder) if isinstance(record, Metric)]
    assert resumed == before[-len(resumed) :]
    assert again[-1][0] == Tag("after", "yes")
    assert steps(written.folder) == before


def test_a_death_between_two_generations_leaves_one_of_them(mlops_home: Path) -> None:
    written = made(segment=30_000)
    for step in range(2000):
        written.append(metric(step))
        if step % 50 == 0:
            written.look_after()
    written.close()
    victim = segments.listed(written.folder)[1]
    content = victim.path.read_bytes()
    thinning.thin_segment(written.folder, victim.base, victim.generation, thinning.any_series)
    victim.path.write_bytes(content)

    assert segments.listed(written.folder)[1].generation == 1
    assert segments.superseded(written.folder) == [victim.path]
    assert len(steps(written.folder)) == len(set(steps(written.folder)))


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_a_thinned_curve_keeps_its_first_last_smallest_and_largest_point_and_its_first_nan(rounds: int) -> None:
    generator = random.Random(rounds)
    values = [math.nan if step in (5, 701) else generator.gauss(0, 1) for step in range(2000)]
    values[333], values[334] = 1e9, -1e9
    lines = [segments.encode(metric(step, value)) for step, value in enumerate(values)]
    rest: list[Record] = [Param("lr", "0.1"), Tag("a", "b"), End("FINISHED", 9)]
    short = [segments.encode(metric(epoch, 0.5, "val_dice")) for epoch in range(thinning.LONG)]
    everything = [*lines[:1000], *short, *map(segments.encode, rest[:2]), *lines[1000:], segments.encode(rest[2])]

    kept = everything
    for _ in range(rounds):
        kept = thinning.thin(kept)

    assert [line for line in kept if line in set(short)] == short
    assert [line for line in kept if line in set(map(segments.encode, rest))] == list(map(segments.encode, rest))
    curve = [line for line in kept if b'"loss"' in line]
    assert curve == [line for line in lines if line in set(curve)], "in order"
    for step in (0, 1999, 333, 334, 5):
        assert lines[step] in curve
    assert len(curve) <= max(thinning.LONG, 2000 / 2**rounds + 4)


def test_system_metrics_can_be_thinned_alone() -> None:
    lines = [
        segments.encode(metric(step, 0.5, name)) for step in range(1000) for name in ("system/cpu_percentage", "loss")
    ]
    kept = thinning.thin(lines, thinning.system_series)
    assert sum(b"loss" in line for line in kept) == 1000
    assert sum(b"system" in line for line in kept) in range(500, 505)


def test_what_was_given_up_is_counted_over_all_occasions(mlops_home: Path) -> None:
    written = made()
    thinning.note(written.folder, folders.thinned(written.folder).__class__(points=3))
    thinning.note(written.folder, folders.thinned(written.folder).__class__(points=4, files=1, bytes=2_000_000))
    (said,) = written.troubles()
    assert "7 points" in said
    assert "1 file (2 MB)" in said
    written.close()


def test_the_clock_of_a_run_never_goes_back(mlops_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = made()
    before = written.now()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert written.now() >= before
    written.close()
