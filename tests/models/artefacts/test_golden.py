from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from forebay.models.artefacts.golden import GoldenRows, Tolerance
from forebay.schemas.errors import ModelError
from tests.models.artefacts.test_artefact import edit, fault, replace_file
from tests.models.build import LoadedNet, load_artefact, make_net, publish

TOLERANCE = Tolerance(relative=0.01, absolute=0.5)
NAN, INF = float("nan"), float("inf")


def array(values: Any) -> Any:
    return np.array(values, dtype=np.float32)


def golden_of(artefact: LoadedNet) -> GoldenRows:
    assert artefact.golden is not None
    return artefact.golden


def golden(outputs: Any) -> GoldenRows:
    return GoldenRows(np.zeros((len(outputs), 3), dtype=np.float32), array(outputs), TOLERANCE)


def test_outputs_within_the_tolerance_agree() -> None:
    golden([[100.0, 0.0], [-100.0, 1.0]]).check(array([[101.5, 0.5], [-98.5, 0.5]]), "golden.safetensors")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            [[101.6, 0.0], [-100, 1]],
            "for golden row 0 the model's output 0 is 101.6, but it was 100 when the model was published; "
            "allowed is a difference of at most 1.5",
        ),
        ([[100, 0], [-100, 1.6]], "for golden row 1 the model's output 1 is 1.6, but it was 1 when"),
        ([[100, 0], [NAN, 1]], "for golden row 1 the model's output 0 is nan, but it was -100 when"),
        ([[100, -INF], [-100, 1]], "for golden row 0 the model's output 1 is -inf, but it was 0 when"),
        ([[0, 0], [0, 0]], "for golden row 0 the model's output 0 is 0, but it was 100 when"),
    ],
)
def test_another_output_is_reported_with_its_row_and_what_is_allowed(found: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        golden([[100.0, 0.0], [-100.0, 1.0]]).check(array(found), "golden.safetensors on cpu")
    assert caught.value.kind == "golden"
    assert caught.value.message.startswith(f"golden.safetensors on cpu: {says}")
    assert caught.value.remedy


def test_the_number_of_other_rows_that_differ_is_reported() -> None:
    with pytest.raises(ModelError, match=r"\(2 more rows differ\)"):
        golden([[0.0, 0.0]] * 4).check(array([[0, 0], [1, 1], [1, 0], [0, 1]]), "here")


def test_a_tolerance_is_suited_to_the_size_of_the_outputs() -> None:
    assert Tolerance.suited_to(array([[1000.0, -2000.0]])) == Tolerance(relative=0.01, absolute=2.0)
    assert Tolerance.suited_to(array([[0.0]])) == Tolerance(relative=0.01, absolute=1e-6)
    assert Tolerance(np.float32(0.5), 0) == Tolerance(0.5, 0.0)


@pytest.mark.parametrize(
    ("relative", "absolute"), [(-0.1, 0), (1, 0), (NAN, 0), (0, -1), (0, INF), (0, NAN), ("1", 0), (True, 0), (0, None)]
)
def test_other_tolerances_are_refused(relative: Any, absolute: Any) -> None:
    with pytest.raises(ModelError, match="the tolerance's") as caught:
        Tolerance(relative, absolute)
    assert caught.value.kind == "golden" and caught.value.remedy


def test_golden_rows_are_loaded_as_they_were_published(tmp_path: Path) -> None:
    rows = np.arange(300, dtype=np.float32).reshape(100, 3) / 10
    publish(tmp_path, golden_rows=rows, tolerance=TOLERANCE)
    stored = golden_of(load_artefact(tmp_path, "delays"))
    np.testing.assert_array_equal(stored.rows_RW, rows[np.arange(32) * 100 // 32])
    assert stored.outputs_RO.shape == (32, 2)
    assert stored.tolerance == TOLERANCE == load_artefact(tmp_path, "delays").manifest.tolerance


def test_publishing_twice_writes_the_same_golden_rows(tmp_path: Path) -> None:
    first, second = publish(tmp_path), publish(tmp_path)
    assert (first / "golden.safetensors").read_bytes() == (second / "golden.safetensors").read_bytes()


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}x"])
def test_golden_rows_that_are_not_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    version = publish(tmp_path)
    replace_file(version, data, "golden.safetensors")
    error = fault(tmp_path)
    assert error.kind == "golden"
    assert error.message.startswith(f"{version / 'golden.safetensors'}: this is not a safetensors file of float32: ")


ROWS, OUTPUTS = array([[0, 1, 2], [3, NAN, 5]]), array([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "the file holds nothing; allowed are exactly outputs and rows"),
        ({"rows": ROWS}, "the file holds rows; allowed are exactly outputs and rows"),
        ({"rows": ROWS, "outputs": OUTPUTS, "x": OUTPUTS}, "the file holds outputs, rows, x; allowed are exactly"),
        ({"rows": array(1), "outputs": OUTPUTS}, "rows has the shape []; allowed are from 1 to 1024 rows"),
        ({"rows": ROWS[:0], "outputs": OUTPUTS[:0]}, "rows has the shape [0, 3]; allowed are from 1 to 1024 rows"),
        ({"rows": ROWS.repeat(513, 0), "outputs": OUTPUTS}, "rows has the shape [1026, 3]; allowed are from 1 to 1024"),
        ({"rows": ROWS[:, :2], "outputs": OUTPUTS}, "rows is float32 [2, 2]; allowed is float32 [2, 3]"),
        ({"rows": ROWS, "outputs": OUTPUTS[:1]}, "outputs is float32 [1, 2]; allowed is float32 [2, 2]"),
        ({"rows": ROWS.astype(np.float64), "outputs": OUTPUTS}, "rows is float64 [2, 3]; allowed is float32 [2, 3]"),
        ({"rows": ROWS, "outputs": OUTPUTS.astype(np.int32)}, "outputs is int32 [2, 2]; allowed is float32 [2, 2]"),
        (
            {"rows": array([[0, INF, 2], [3, 4, 5]]), "outputs": OUTPUTS},
            "rows[0, 1] is inf; allowed is a finite number or NaN",
        ),
        ({"rows": ROWS, "outputs": array([[1, 2], [NAN, 4]])}, "outputs[1, 0] is nan; allowed is a finite number"),
    ],
)
def test_golden_rows_that_do_not_fit_the_signature_are_refused(tmp_path: Path, tensors: Any, says: str) -> None:
    version = publish(tmp_path)
    replace_file(version, safetensors.numpy.save(tensors), "golden.safetensors")
    error = fault(tmp_path)
    assert error.kind == "golden"
    assert error.message.startswith(f"{version / 'golden.safetensors'}: {says}")


def test_a_type_that_numpy_does_not_have_is_refused(tmp_path: Path) -> None:
    version = publish(tmp_path)
    header = b'{"rows":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}}'
    replace_file(version, len(header).to_bytes(8, "little") + header + b"\0\0", "golden.safetensors")
    assert fault(tmp_path).kind == "golden"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"golden_rows": [[1, 2, 3]]}, "golden_rows is [[1, 2, 3]] (list)"),
        ({"golden_rows": np.zeros((5, 3))}, "golden_rows is float64 [5, 3]"),
        ({"golden_rows": array([[1, 2]])}, "golden_rows is float32 [1, 2]"),
        ({"golden_rows": array([1, 2, 3])}, "golden_rows is float32 [3]"),
        ({"golden_rows": array([[0, 0, 0]])[:0]}, "golden_rows is float32 [0, 3]"),
        ({"golden_rows": array([[0, NAN, 0]])}, "none of the 1 rows drawn from golden_rows is finite"),
        ({"tolerance": 0.1}, "tolerance is 0.1"),
    ],
)
def test_other_golden_rows_are_not_published(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        publish(tmp_path, **given)
    assert caught.value.kind == "golden" and caught.value.remedy
    assert caught.value.message.startswith(f"model 'delays': {says}")
    assert not (tmp_path / "delays").exists()


def test_a_model_with_an_output_that_is_not_finite_is_not_published(tmp_path: Path) -> None:
    net = make_net()
    for value in net.state_dict().values():
        value.fill_(3e38)
    with pytest.raises(ModelError) as caught:
        publish(tmp_path, net=net)
    assert caught.value.kind == "golden"
    assert "for golden row 0 is inf; allowed are finite outputs" in caught.value.message


def test_provenance_is_stored(tmp_path: Path) -> None:
    publish(tmp_path)
    statistics = {"version": 3, "columns": [{"mean": 0.1, "big": 2**70, "tuple": (1, 2)}], "é": None}
    publish(tmp_path, parent=1, licence="Apache-2.0", reference_statistics=statistics)
    provenance = load_artefact(tmp_path, "delays").manifest.provenance
    assert (provenance.parent, provenance.licence) == (1, "Apache-2.0")
    assert provenance.reference_statistics == {
        "version": 3,
        "columns": [{"mean": 0.1, "big": 2**70, "tuple": [1, 2]}],
        "é": None,
    }


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"version": 1, "deep": value}


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"licence": None}, "manifest", "licence is None; allowed is a string"),
        ({"parent": 7}, "version_not_found", "there is no version 7"),
        ({"parent": "1"}, "manifest", "parent is '1'"),
        ({"parent": True}, "manifest", "parent is True"),
        ({"reference_statistics": {}}, "manifest", "reference_statistics.version is missing"),
        ({"reference_statistics": {"version": 0}}, "manifest", "reference_statistics.version is 0; allowed is"),
        ({"reference_statistics": [1]}, "manifest", "reference_statistics is [1]; allowed is an object"),
        ({"reference_statistics": {"version": 1, "mean": NAN}}, "manifest", "cannot be written as JSON"),
        ({"reference_statistics": {"version": 1, "mean": np.float32(1)}}, "manifest", "cannot be written as JSON"),
        ({"reference_statistics": {"version": 1, "1": 0, 1: 0}}, "manifest", "the key"),
        ({"reference_statistics": deep(100_000)}, "manifest", "cannot be written as JSON"),
        ({"reference_statistics": {"version": 1, "x": "x" * 17_000_000}}, "too_large", "the manifest has 170"),
    ],
)
def test_provenance_that_cannot_be_stored_is_refused(
    tmp_path: Path, given: dict[str, Any], kind: str, says: str
) -> None:
    publish(tmp_path)
    with pytest.raises(ModelError) as caught:
        publish(tmp_path, **given)
    assert caught.value.kind == kind and caught.value.remedy
    assert says in caught.value.message
    assert not (tmp_path / "delays" / "2").exists()


def test_a_changed_tolerance_in_the_manifest_is_used(tmp_path: Path) -> None:
    version = publish(tmp_path)
    edit(version, lambda document: document.update(tolerance={"relative": 0, "absolute": 0.25}))
    assert golden_of(load_artefact(tmp_path, "delays")).tolerance == Tolerance(0.0, 0.25)
