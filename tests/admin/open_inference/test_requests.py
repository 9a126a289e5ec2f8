"""Requests of the Open Inference Protocol through the predictor: the answers are those of `/predict`."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.admin.open_inference.metadata import describe_tensors
from forebay.stream.admin.open_inference.requests import HEADER_LENGTH, TensorRequest
from forebay.stream.admin.open_inference.tensors import Tensor, binary_entry
from tests.admin.predictor import Model, running_models
from tests.core.build import MODEL

NAMED = Signature(
    (Feature("delay"), Feature("carrier", "category", ("AA", "UA")), Feature("wind", nullable=True)),
    (3,),
    "multiclass",
    2,
)


def fp32(name: str, rows: Any) -> dict[str, Any]:
    values = np.array(rows, dtype=np.float32)
    return {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}


def texts(name: str, values: list[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(values), 1], "data": values}


def model_of(signature: Signature | None) -> Model:
    model = Model()
    if signature is not None:
        model.signature = signature
    return model


async def infer(
    body: bytes, headers: dict[str, str] | None = None, *, signature: Signature | None = None
) -> tuple[int, bytes, int | None]:
    """Return the status, the body and the length of its header."""

    async def read() -> bytes:
        return body

    async with running_models({MODEL: model_of(signature)}) as (predictor, served):
        tensors = TensorRequest(served[MODEL])
        status, answer = await predictor.predict(read, headers or {}, model="m", request_format=tensors)
        return status, answer, tensors.header_length


async def ask(document: Any, *, signature: Signature | None = None) -> tuple[int, Any]:
    status, body, _ = await infer(orjson.dumps(document), signature=signature)
    return status, orjson.loads(body)


async def test_rows_in_one_tensor() -> None:
    status, document = await ask({"id": "r", "inputs": [fp32("input", [[1, 2, 3], [4, 5, 6]])]})
    assert (status, document["model_name"], document["model_version"], document["id"]) == (200, "m", "1", "r")
    outputs = {output["name"]: output for output in document["outputs"]}
    assert outputs["prediction"] == {
        "name": "prediction", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 8, 10]
    }  # fmt: skip


async def test_only_the_outputs_that_are_asked_for() -> None:
    request = {"inputs": [fp32("any name", [[1, 2, 3]])], "outputs": [{"name": "prediction"}]}
    _, document = await ask(request)
    assert [output["name"] for output in document["outputs"]] == ["prediction"]


async def test_binary_tensors() -> None:
    inputs = [binary_entry(Tensor("input", "FP32", np.array([[1, 2, 3]], dtype=np.float32)))]
    header = orjson.dumps(
        {"inputs": [entry for entry, _ in inputs], "parameters": {"binary_data_output": True}, "outputs": []}
    )
    body = header + b"".join(data for _, data in inputs)
    status, answer, length = await infer(body, {HEADER_LENGTH: str(len(header))})
    assert status == 200 and length is not None
    (output, *_) = orjson.loads(answer[:length])["outputs"]
    size = output["parameters"]["binary_data_size"]
    assert np.frombuffer(answer[length : length + size], dtype="<f4").tolist() == [2, 4]


async def test_a_tensor_for_each_feature_and_none_for_what_may_be_missing() -> None:
    request = {"inputs": [texts("carrier", ["UA", "AA"]), fp32("delay", [[1], [2]])]}
    status, document = await ask(request, signature=NAMED)
    assert status == 200 and document["outputs"][0]["shape"][0] == 2
    with_nan = {"inputs": [*request["inputs"], fp32("wind", [float("nan"), 1.0])]}
    assert (await ask(with_nan, signature=NAMED))[0] == 200


@pytest.mark.parametrize(
    ("inputs", "status", "message"),
    [
        (None, 400, "inputs is not a list of tensors"),
        ([], 400, "inputs is not a list of tensors"),
        ([fp32("a", [[1]]), fp32("a", [[1]])], 400, "two inputs have the same name"),
        ([fp32("delay", [[1]])], 400, "the input 'carrier' is missing"),
        ([fp32("speed", [[1]]), fp32("delay", [[1]])], 400, "no input 'speed'; the model takes delay, carrier, wind"),
        ([fp32("delay", [[1]]), texts("carrier", ["UA", "AA"])], 400, "the inputs have 1 and 2 rows"),
        ([fp32("delay", [[1, 2]]), texts("carrier", ["UA"])], 400, "has shape [1, 2]; a feature has [1, 1]"),
        ([fp32("delay", [[1]]), texts("carrier", ["ZZ"])], 400, "row 0: "),
        ([fp32("delay", [[float("inf")]]), texts("carrier", ["UA"])], 400, "has neither"),
        ([fp32("rows", [[1, 2]])], 400, "takes [-1, 3], or an input for each feature: delay, carrier, wind"),
        ([fp32("delay", np.zeros((0, 1)))], 400, "the inputs have no row"),
        ([fp32("delay", np.zeros((5, 1))), texts("carrier", ["UA"] * 5)], 413, "allows 4 in one request"),
    ],
)
async def test_what_does_not_fit_the_model_is_refused(inputs: Any, status: int, message: str) -> None:
    found, document = await ask({"inputs": inputs}, signature=NAMED)
    assert list(document) == ["error"]
    if message != "has neither":  # JSON has no infinity: orjson writes null
        assert message in document["error"]
        assert found == status


async def test_an_infinite_value_is_refused() -> None:
    entry, data = binary_entry(Tensor("input", "FP32", np.array([[1, 2, np.inf]], dtype=np.float32)))
    header = orjson.dumps({"inputs": [entry]})
    status, body, _ = await infer(header + data, {HEADER_LENGTH: str(len(header))})
    assert status == 400 and b"has an infinite value" in body


async def test_a_row_for_which_the_model_fails_is_named() -> None:
    status, document = await ask({"inputs": [fp32("input", [[1, 2, 3], [13, 2, 3]])]})
    assert status == 422 and document["error"].startswith("row 1: ")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"name": "score"}], "there is no output 'score'; choose from prediction"),
        (
            [{"name": "prediction", "parameters": {"classification": 2}}],
            "the parameter classification is not supported",
        ),
        ("prediction", "outputs is not a list"),
        ([{"name": "prediction"}] * 2, "the output 'prediction' is asked for twice"),
    ],
)
async def test_an_unknown_output_is_refused(outputs: Any, message: str) -> None:
    status, document = await ask({"inputs": [fp32("input", [[1, 2, 3]])], "outputs": outputs})
    assert status == 400 and message in document["error"]


async def test_the_metadata_name_the_inputs_and_outputs() -> None:
    async with running_models({MODEL: model_of(NAMED)}) as (_, served):
        metadata = describe_tensors(served[MODEL])
    assert metadata["inputs"] == [
        {"name": "delay", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "wind", "datatype": "FP32", "shape": [-1, 1]},
    ]
    assert [output["name"] for output in metadata["outputs"]] == ["prediction", "confidence", "class"]
