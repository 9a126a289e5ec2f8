"""Reading an untrusted manifest takes time in proportion to its size, and refusals have a short message."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from forebay.models.artefacts.manifest import Manifest
from forebay.models.backends.torch.architectures import outline
from forebay.schemas.errors import ModelError
from tests.models.build import publish

HUGE = int("9" * 4000)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> str:
    version = publish(tmp_path_factory.mktemp("repository"))
    return (version / "manifest.json").read_text()


def read(data: str) -> Exception | None:
    """Read a manifest as `load_artefact` does, without the weights."""
    try:
        manifest = Manifest.from_json(data.encode(), "manifest.json")
        outline(manifest.architecture, manifest.params)
    except ModelError as error:
        return error
    return None


def changed(good: str, change: Callable[[Any], object]) -> str:
    document = json.loads(good)
    change(document)
    return json.dumps(document)


def doubled_keys(good: str, n: int) -> str:
    keys = ",".join(f'"k{at}":0' for at in range(n))
    return f'{{{keys},"k{n - 1}":1}}'


HOSTILE: dict[str, Callable[[str, int], str]] = {
    "keys, the last of them twice": doubled_keys,
    "unknown keys": lambda good, n: changed(good, lambda d: d.update({f"k{at}": 0 for at in range(n)})),
    "unknown parameters": lambda good, n: changed(good, lambda d: d["params"].update({f"k{at}": 0 for at in range(n)})),
    "a long parameter name": lambda good, n: changed(good, lambda d: d["params"].update({"hidden" * n: 0})),
    "a long unknown key": lambda good, n: changed(good, lambda d: d.update({"metrics" * n: 0})),
    "a long architecture": lambda good, n: changed(good, lambda d: d.update(architecture="mlp" * n)),
    "huge sizes": lambda good, n: changed(good, lambda d: d["signature"].update(shape=[HUGE] * (n // 50))),
    "many sizes": lambda good, n: changed(good, lambda d: d["signature"].update(shape=[2] * n)),
    "huge columns": lambda good, n: changed(
        good, lambda d: d["preprocessing"]["steps"][0].update(columns=[HUGE] * (n // 50))
    ),
    "huge layers": lambda good, n: changed(good, lambda d: d["params"].update(hidden_dims=[HUGE] * (n // 50))),
    "huge metrics": lambda good, n: changed(
        good, lambda d: d["metrics"].update({f"m{at}": HUGE for at in range(n // 50)})
    ),
    "many features": lambda good, n: changed(
        good, lambda d: d["signature"].update(features=[d["signature"]["features"][0]] * n)
    ),
    "many labels": lambda good, n: changed(good, lambda d: d["signature"].update(labels=[str(at) for at in range(n)])),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_manifest_is_refused_with_a_short_message(good: str, kind: str) -> None:
    error = read(HOSTILE[kind](good, 20_000))
    assert isinstance(error, ModelError) and error.remedy
    assert len(error.message) < 2000, error.message[:3000]


@pytest.mark.parametrize("kind", HOSTILE)
def test_twice_the_size_takes_about_twice_the_time(good: str, kind: str) -> None:
    # Processor time, the minimum of several runs, and sizes at which quadratic time would take seconds: independent of load.
    def cost_s(data: str) -> float:
        begun_s = time.process_time()
        read(data)
        return time.process_time() - begun_s

    small, large = HOSTILE[kind](good, 10_000), HOSTILE[kind](good, 40_000)
    # Quadratic time would turn a factor of 4 into 16; very short times may be noise.
    most_s = max(8 * min(cost_s(small), cost_s(small)), 0.2)
    assert any(cost_s(large) < most_s for _ in range(3))


def test_the_unchanged_manifest_is_valid(good: str) -> None:
    assert read(good) is None


def test_the_source_of_a_model_is_optional_and_kept(good: str) -> None:
    assert "source" not in json.loads(good)
    source = {"uri": "models:/churn@champion", "run_id": "7", "more": [1, None]}
    manifest = Manifest.from_json(changed(good, lambda d: d.update(source=source)).encode(), "manifest.json")
    assert manifest.provenance.source == source
    assert json.loads(manifest.to_json())["source"] == source
    for wrong in (None, "models:/churn/1", {}, {"uri": 7}):
        error = read(changed(good, lambda d, wrong=wrong: d.update(source=wrong)))
        assert error is not None and "source" in str(error)
