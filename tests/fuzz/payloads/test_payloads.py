"""A short selection of `make test-fuzz`, and the proof that it notices what it looks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition
from forebay.stream.decode import Decoder
from tests.core.build import FakeRecord
from tests.fuzz.__main__ import Part, Result, main, run_part
from tests.fuzz.payloads.corpus import FORMATS, TARGETS
from tests.fuzz.payloads.failure import Failure, load_failure
from tests.fuzz.payloads.outcomes import Tally
from tests.fuzz.payloads.polls import check_poll, make_poll
from tests.fuzz.payloads.target import Target, TargetDecoder

POLLS, SIZE = 8, 64


def valid(target: Target) -> list[FakeRecord]:
    """Return the samples of a target as records."""
    return [
        FakeRecord(offset, sample.value, key=sample.key, headers=sample.headers)
        for offset, sample in enumerate(target.samples)
    ]


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_payloads_become_rows_or_rejections(name: str) -> None:
    target = TARGETS[name]()
    of = target.make()
    tally = Tally()
    assert check_poll(target, of, valid(target), tally, exact=True) is None
    assert set(tally.kinds) in ({"row"}, {"document"}), "the samples are valid"
    for number in range(POLLS):
        assert check_poll(target, of, make_poll(target, 0, number, SIZE), tally, exact=number % 2 == 0) is None
    num_valid = tally.kinds["row"] + tally.kinds["document"]
    assert num_valid > POLLS * SIZE / 16
    assert tally.kinds.total() - num_valid > POLLS * SIZE / 3


class _Broken(Decoder):
    """A decoder with a fault. of: the sound one."""

    def __init__(self, of: Decoder, fault: str) -> None:
        self._of, self._fault = of, fault

    def decode(self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        if self._fault == "raises":
            raise RuntimeError("broken")
        if self._fault == "loses":
            poll = {partition: records[1:] for partition, records in poll.items()}
        (chunk,) = self._of.decode(poll, epoch)
        if self._fault == "repeats":
            return [chunk, chunk]
        if self._fault == "infinite":
            chunk.x_BF[0, 0] = np.inf
        if self._fault == "another value":
            chunk.x_BF[0, 0] += 1
        if self._fault == "another id":
            chunk = replace(chunk, ids=["other", *chunk.ids[1:]])
        return [chunk]


@pytest.mark.parametrize("fault", ["raises", "loses", "repeats", "infinite", "another value", "another id"])
def test_faults_of_a_decoder_are_noticed(fault: str) -> None:
    target = TARGETS["json-numbers"]()
    of = target.make()
    assert isinstance(of, TargetDecoder)
    broken = TargetDecoder(_Broken(of.decoder, fault), of.model, of.exact)
    assert check_poll(target, broken, valid(target), Tally(), exact=True) is not None


def test_every_target_belongs_to_one_format() -> None:
    assert sorted(TARGETS) == sorted(target for targets in FORMATS.values() for target in targets)


def test_a_poll_depends_on_its_seed_and_number_only() -> None:
    target = TARGETS["f32"]()
    assert make_poll(target, 1, 2) == make_poll(target, 1, 2)
    assert make_poll(target, 1, 2) != make_poll(target, 1, 3) != make_poll(target, 2, 3)


def test_a_failure_can_be_saved_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [*make_poll(TARGETS["f32"](), 1, 2, 16), FakeRecord(16, None, headers=(("a", b"\xff"),))]
    failure = Failure("f32", 1, number=2, problem="it was slow", records=records)
    assert load_failure(failure.save(tmp_path)) == failure
    assert main(["--replay", str(tmp_path / "f32-1-2.json")]) == 0
    assert "it was slow\nnow: as it should be" in capsys.readouterr().out


def test_polls_are_checked_in_processes_of_their_own(tmp_path: Path) -> None:
    result = Result()
    run_part(Part("f32", 3, range(0, 2), tmp_path), result)
    assert result.failures == []
    assert result.events == 512
    assert result.tally.decode_s > 0
