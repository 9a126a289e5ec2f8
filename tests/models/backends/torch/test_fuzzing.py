"""A mutated artefact is refused with a ModelError that has a short message and a remedy, or it serves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from forebay.models.artefacts.preprocessing import Impute, OneHot, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.statistics.reference import reference_statistics
from forebay.schemas.errors import ModelError
from tests.models.artefacts.test_old_format import OLD
from tests.models.build import load_artefact, make_net, publish, serve_artefact

# `FUZZ_EXAMPLES=5000 pytest tests/models/artefacts/test_fuzzing.py` looks for longer.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FILES = ["golden.safetensors", "weights.safetensors"]

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from([2**53 + 1, 10**400]) | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "torch", "mlp", "weights.safetensors", "../x", "0" * 64]) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module", params=["format 1", "format 2"])
def good(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The repository of a good model in each format."""
    if request.param == "format 1":
        return OLD
    repository = tmp_path_factory.mktemp("repository")
    features = (Feature("a", "category", ("x", "y"), nullable=True), Feature("b", nullable=True))
    steps = (Impute(2, (1,), (0.5,)), Standardise(2, (1,), (0.5,), (2.0,)), OneHot(2, (0,), (2,)))
    signature = Signature(features, (2,), "multiclass", 2, labels=("no", "yes"))
    rows = np.array([[0, 1.5], [1, np.nan], [0, -2]], dtype=np.float32)
    publish(
        repository,
        net=make_net(3, 2),
        signature=signature,
        preprocessing=Preprocessing(steps),
        reference_statistics=reference_statistics(signature, [rows]).to_dict(),
    )
    return repository


@pytest.fixture
def version(good: Path) -> Iterator[Path]:
    with TemporaryDirectory() as repository:
        shutil.copytree(good, repository, dirs_exist_ok=True)
        yield Path(repository) / "delays" / "1"


def outcome(version: Path) -> str:
    """Load and run the version as a worker does; return what happened. Fails for anything that must not happen."""
    try:
        served = serve_artefact(load_artefact(version.parents[1], "delays"))
        x = np.zeros((2, served.signature.row_width), dtype=np.float32)
        scores = served.forward(served.prepare(x))
    except ModelError as error:
        assert error.remedy and len(error.message) < 3000, error.message[:5000]
        assert error.kind != "out_of_memory"
        return error.kind
    assert scores.values_BO.shape == (2, served.signature.output_dim)
    return "loaded"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in a document."""
    if path:
        yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def mutate(document: Any, data: st.DataObject) -> None:
    """Change, delete, add or swap one value of the document."""
    *parents, key = data.draw(st.sampled_from(list(places(document))))
    parent = document
    for part in parents:
        parent = parent[part]
    match data.draw(st.sampled_from(["replace", "delete", "add", "move"])):
        case "replace":
            parent[key] = data.draw(JSON)
        case "delete":
            del parent[key]
        case "add" if isinstance(parent, dict):
            parent[data.draw(st.text(max_size=5))] = data.draw(JSON)
        case "add":
            parent.insert(key, data.draw(JSON))
        case _:
            other = document
            for part in data.draw(st.sampled_from(list(places(document)))):
                other = other[part]
            parent[key] = json.loads(json.dumps(other))


def restate(version: Path) -> None:
    """Correct the digests in the manifest, so that its reader goes on to the content of the files."""
    file = version / "manifest.json"
    document = json.loads(file.read_text())
    for name in FILES:
        if (version / name).exists():
            content = (version / name).read_bytes()
            stated = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
            if document["format"] == 1:
                document["weights"] = stated
            else:
                document["files"][name] = stated
    file.write_text(json.dumps(document))


def mutate_bytes(content: bytes, data: st.DataObject) -> bytes:
    """Overwrite, remove or insert a few bytes, or cut the end off."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        match data.draw(st.sampled_from(["set", "flip", "remove", "insert", "cut"])):
            case "set" if changed:
                changed[at] = data.draw(st.integers(0, 255))
            case "flip" if changed:
                changed[at] ^= 1 << data.draw(st.integers(0, 7))
            case "remove":
                del changed[at : at + data.draw(st.integers(1, 8))]
            case "insert":
                changed[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del changed[at:]
    return bytes(changed)


FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data())
def test_a_manifest_with_other_values(version: Path, good: Path, data: st.DataObject) -> None:
    document = json.loads((good / "delays" / "1" / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(document, data)
    (version / "manifest.json").write_text(json.dumps(document))
    event(outcome(version))


@FUZZ
@given(data=st.data())
def test_a_manifest_with_other_bytes(version: Path, good: Path, data: st.DataObject) -> None:
    content = (good / "delays" / "1" / "manifest.json").read_bytes()
    (version / "manifest.json").write_bytes(mutate_bytes(content, data))
    event(outcome(version))


@FUZZ
@given(data=st.data())
def test_other_files_with_correct_digests(version: Path, good: Path, data: st.DataObject) -> None:
    shutil.copytree(good / "delays" / "1", version, dirs_exist_ok=True)
    name = data.draw(st.sampled_from([name for name in FILES if (version / name).exists()]))
    content = (version / name).read_bytes()
    if data.draw(st.booleans()):  # the header of safetensors: a length of eight bytes, and JSON
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        mutate(header, data)
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + content[end:]
    else:
        content = mutate_bytes(content, data)
    (version / name).write_bytes(content)
    restate(version)
    event(outcome(version))


def test_the_unchanged_models_are_loaded(version: Path) -> None:
    restate(version)
    assert outcome(version) == "loaded"
