"""Publish to and load from a repository in memory, behind a URL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from tests.models.build import publish

URL = "memory://bucket/models"
FOLDER = "/bucket/models"
AT = datetime(2026, 11, 3, tzinfo=UTC)
ROWS = np.array([[0.5, -1.0, 2.0]], np.float32)


def publish_remotely(name: str = "delays", **more: Any) -> Path:
    return publish(URL, name, **more)


def load(version: int | str | None = None, url: str = URL) -> np.ndarray[Any, Any]:
    model = load_model(url, "delays", version, options=RunOptions("cpu"))
    return model.forward(model.prepare(ROWS)).values_BO


def refused(call: Callable[[], object], kind: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        call()
    assert caught.value.kind == kind, caught.value
    assert caught.value.remedy
    return caught.value


def drop(cache: Path) -> None:
    """Delete all copies."""
    for entry in list(cache.iterdir()):
        entry.rename(cache.parent / f"dropped-{entry.name}")
