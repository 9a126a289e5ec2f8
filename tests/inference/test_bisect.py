"""Bisection: failing rows do not affect other rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.preprocessing import Preprocessing, RowCheck
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import Scores
from forebay.schemas.errors import ModelError
from forebay.schemas.failures import FailureKind
from forebay.stream.core.records import FloatMatrix, MicroBatch
from forebay.stream.inference.bisect import ModelFault, infer, infer_batch
from forebay.stream.pipeline.micro_batcher import MicroBatcher
from tests.core.build import JULY, chunk, signature


class EchoModel:
    """Returns the feature. Raises for rows in `poison`, returns NaN for `nan`, runs out of memory above `memory` rows."""

    name = "echo"
    version = 1

    def __init__(self, poison: Sequence[float] = (), nan: Sequence[float] = (), memory: int = 10**9) -> None:
        self.poison, self.nan, self.memory = set(poison), set(nan), memory
        self.calls = 0

    @property
    def signature(self) -> Signature:
        return signature(1, task="regression", output_dim=1)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        pass

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        return x_BF

    def forward(self, x_BG: FloatMatrix) -> Scores:
        self.calls += 1
        if len(x_BG) > self.memory:
            raise ModelError("out of memory", kind="out_of_memory")
        if self.poison & set(x_BG[:, 0].tolist()):
            raise ValueError("I choke on 42.5")
        values_BO = x_BG.copy()
        values_BO[np.isin(x_BG[:, 0], list(self.nan))] = np.nan
        return Scores(values_BO)


def rows(count: int) -> FloatMatrix:
    return np.arange(count, dtype=np.float32).reshape(count, 1)


def test_a_valid_batch_is_one_call() -> None:
    model = EchoModel()
    inference = infer(model, rows(8))
    assert inference.values_BO.tolist() == rows(8).tolist() and not inference.failures
    assert model.calls == 1


@given(st.integers(0, 64), st.sets(st.integers(0, 63)), st.sets(st.integers(0, 63)), st.integers(1, 64))
def test_exactly_the_failing_rows_fail(count: int, poison: set[int], nan: set[int], memory: int) -> None:
    inference = infer(EchoModel(sorted(poison), sorted(nan), memory), rows(count))
    for row in range(count):
        if row in poison:
            assert inference.failures[row].kind is FailureKind.MODEL_ERROR
        elif row in nan:
            assert inference.failures[row].kind is FailureKind.OUTPUT_NOT_FINITE
        else:
            assert row not in inference.failures
            assert inference.values_BO[row, 0] == row
    assert len(inference.values_BO) == count


def test_bisection_needs_few_calls() -> None:
    model = EchoModel(poison=[300])
    assert list(infer(model, rows(512)).failures) == [300]
    assert model.calls <= 2 * 9 + 1


def test_out_of_memory_halves_the_batch_and_fails_only_a_single_row() -> None:
    model = EchoModel(memory=16)
    assert not infer(model, rows(64)).failures
    assert model.calls == 4 + 2 + 1
    assert infer(EchoModel(memory=0), rows(2)).failures[1].kind is FailureKind.OUT_OF_MEMORY


def test_the_stack_trace_has_no_message() -> None:
    failure = infer(EchoModel(poison=[0]), rows(1)).failures[0]
    assert failure.message == "ValueError: I choke on 42.5"
    assert failure.stack is not None and "forward" in failure.stack and "I choke on 42.5\n" not in failure.stack[-40:]


def test_errors_of_preprocessing_have_their_own_kind() -> None:
    class BadPrepare(EchoModel):
        def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
            if 3 in x_BF:
                raise ZeroDivisionError("scale")
            return x_BF

    inference = infer(BadPrepare(), rows(5))
    assert {row: failure.kind for row, failure in inference.failures.items()} == {3: FailureKind.PREPARE_ERROR}


class Checking(EchoModel):
    """A model whose preparation rejects rows above 9 and above 19, and whose net then fails on `poison`."""

    def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
        checks = [RowCheck(1, (0,), (None,), (high,), allow_missing=(True,), names=("x",)) for high in (19.0, 9.0)]
        return Preprocessing(tuple(checks)).apply(x_BF, checked=True)


def test_rows_that_the_preparation_rejects_are_known_before_the_model_runs() -> None:
    model = Checking()
    inference = infer(model, rows(24))
    assert model.calls == 1, "no bisection"
    assert {row: failure.kind for row, failure in inference.failures.items()} == dict.fromkeys(
        range(10, 24), FailureKind.OUTLIER
    )
    assert (
        inference.failures[20].message.startswith("'x' is outside the range")
        and "to 19" in inference.failures[20].message
    )
    assert "to 9" in inference.failures[10].message
    assert inference.values_BO[:10, 0].tolist() == list(range(10))


@given(st.integers(0, 24), st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23)), st.integers(1, 24))
def test_rejected_rows_do_not_affect_the_others(count: int, poison: set[int], nan: set[int], memory: int) -> None:
    inference = infer(Checking(sorted(poison), sorted(nan), memory), rows(count))
    for row in range(count):
        kind = inference.failures[row].kind if row in inference.failures else None
        wanted = FailureKind.MODEL_ERROR if row in poison else FailureKind.OUTPUT_NOT_FINITE if row in nan else None
        assert kind is (FailureKind.OUTLIER if row > 9 else wanted)
        assert kind is not None or inference.values_BO[row, 0] == row


def test_rejected_rows_of_a_batch_that_was_bisected_keep_their_numbers() -> None:
    class Fragile(Checking):
        def prepare(self, x_BF: FloatMatrix) -> FloatMatrix:
            if 3 in x_BF:
                raise ZeroDivisionError("scale")
            return super().prepare(x_BF)

    inference = infer(Fragile(), rows(12))
    kinds = {row: failure.kind for row, failure in inference.failures.items()}
    assert kinds == {3: FailureKind.PREPARE_ERROR, 10: FailureKind.OUTLIER, 11: FailureKind.OUTLIER}


def test_a_wrong_output_shape_has_its_own_kind() -> None:
    class Wide(EchoModel):
        def forward(self, x_BG: FloatMatrix) -> Scores:
            return Scores(np.zeros((len(x_BG), 2), dtype=np.float32))

    assert infer(Wide(), rows(1)).failures[0].kind is FailureKind.OUTPUT_SHAPE


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_errors_not_caused_by_the_data_are_raised(error: type[BaseException]) -> None:
    class Dying(EchoModel):
        def forward(self, x_BG: FloatMatrix) -> Scores:
            raise error

    with pytest.raises(error):
        infer(Dying(), rows(4))


def test_rows_past_their_deadline_are_not_predicted() -> None:
    batcher = MicroBatcher(max_batch_size=10, max_batch_bytes=1000, max_queue_delay_ms=5)
    batcher.add(chunk([0, 1, 2]), now_s=0, wall_ms=JULY)
    batcher.add(chunk([3, 4], deadlines={0: JULY - 1, 1: JULY}), now_s=0, wall_ms=JULY)
    (batch,) = batcher.flush()
    model = EchoModel(poison=[2])
    inference = infer_batch(model, batch, wall_ms=JULY)
    assert {row: failure.kind for row, failure in inference.failures.items()} == {
        2: FailureKind.MODEL_ERROR,
        3: FailureKind.DEADLINE_EXCEEDED,
    }
    assert inference.values_BO[[0, 1, 4], 0].tolist() == [0, 1, 4]


class Flickering(EchoModel):
    """A model that raises in the calls whose numbers are in `away`, for every input. Warm-ups count as calls."""

    def __init__(self, away: range, poison: Sequence[float] = ()) -> None:
        super().__init__(poison)
        self.away = away

    @property
    def signature(self) -> Signature:
        return signature(1, task="binary", output_dim=1)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        self.forward(np.full((1, 1), -1.0, dtype=np.float32))

    def forward(self, x_BG: FloatMatrix) -> Scores:
        scores = super().forward(x_BG)
        if self.calls - 1 in self.away:
            raise RuntimeError("the device is gone")
        return Scores(scores.values_BO, x_BG[:, 0].astype(np.int64), x_BG[:, 0])


def batch_of(count: int) -> MicroBatch:
    batcher = MicroBatcher(max_batch_size=100, max_batch_bytes=10_000, max_queue_delay_ms=5)
    batcher.add(chunk([float(row) for row in range(count)]), now_s=0, wall_ms=JULY)
    (batch,) = batcher.flush()
    return batch


@given(st.integers(0, 40), st.sets(st.integers(0, 15)))
def test_no_row_fails_if_the_device_recovers_during_a_batch(until: int, poison: set[int]) -> None:
    model = Flickering(range(until), sorted(poison))
    try:
        inference = infer_batch(model, batch_of(16), wall_ms=JULY)
    except ModelFault:
        assert model.calls <= until  # it never recovered
        return
    assert inference.failures.keys() == poison
    if len(poison) == 16:
        return
    assert inference.classes_B is not None and inference.confidences_B is not None
    good = [row for row in range(16) if row not in poison]
    for output in (inference.values_BO[:, 0], inference.classes_B, inference.confidences_B):
        assert output[good].tolist() == good


@given(st.data(), st.sets(st.integers(0, 15), min_size=1))
def test_no_row_fails_if_the_device_becomes_unavailable_during_a_batch(data: st.DataObject, poison: set[int]) -> None:
    """Rows that failed in a later call are not confirmed by rows that succeeded before."""
    model = EchoModel(poison=sorted(poison))
    infer(model, rows(16))
    since = data.draw(st.integers(0, model.calls))  # at the latest in the warm-up that checks the device
    with pytest.raises(ModelFault):
        infer_batch(Flickering(range(since, 1000), sorted(poison)), batch_of(16), wall_ms=JULY)


def test_the_reason_of_a_model_fault_contains_no_values() -> None:
    class Quoting(EchoModel):
        def warm_up(self, batch_sizes: Sequence[int]) -> None:
            raise ValueError("cannot take row [8.25, 'Anna'] at 0x7f12ab34cd56")

        def forward(self, x_BG: FloatMatrix) -> Scores:
            raise RuntimeError

    batcher = MicroBatcher(max_batch_size=10, max_batch_bytes=1000, max_queue_delay_ms=5)
    batcher.add(chunk([0, 1]), now_s=0, wall_ms=JULY)
    (batch,) = batcher.flush()
    with pytest.raises(ModelFault) as raised:
        infer_batch(Quoting(), batch, wall_ms=JULY)
    assert "ValueError: cannot take row" in str(raised.value)
    assert "8.25" not in str(raised.value) and "Anna" not in str(raised.value)
