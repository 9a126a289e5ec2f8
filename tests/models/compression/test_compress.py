"""Compression as a whole: what is registered, what is refused, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.protocol import RunOptions
from forebay.models.compression.compress import compress, register_best
from forebay.models.compression.goals import Goals
from forebay.models.compression.layers import Convolution, Dense, Flatten, Layers
from forebay.models.compression.methods import Distil
from forebay.models.compression.plans import Wishes
from forebay.models.compression.training_rows import CompressionData, Part
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ConfigError, ModelError
from tests.models.compression.small_models import (
    NAME,
    NOW,
    graph_subject,
    job,
    published,
    spots_data,
    spots_layers,
    spots_signature,
    tools,
)

DATA = spots_data()


def test_int8_is_registered_with_its_parent_and_passes_the_load_gate(tmp_path: Path) -> None:
    artefact = published(graph_subject(spots_layers(256), spots_signature()), tmp_path / "models", DATA)
    work = job(artefact, DATA, Wishes(quantise="int8"), Goals(batch_size=64))
    report = compress(work, tools(tmp_path / "scratch"))
    (outcome,) = report.outcomes
    assert outcome.measured is not None and outcome.gains == ("smaller",)
    assert outcome.measured.num_bytes < report.original.num_bytes
    version = register_best(report, work, str(tmp_path / "models"), NOW)
    about = read_version(tmp_path / "models", NAME, version).manifest.provenance
    assert (version, about.parent) == (2, 1)
    assert about.metrics["compression_loss"] <= 0.005
    # The clock says that all calls take equally long, and the note does not promise more.
    assert "the same at 64 rows (1.00×)" in about.note and "faster" not in about.note
    assert load_model(tmp_path / "models", NAME, version, options=RunOptions()).num_golden_rows > 0


def test_a_model_that_is_not_faster_is_not_registered_as_faster(tmp_path: Path) -> None:
    artefact = published(graph_subject(spots_layers(256), spots_signature()), tmp_path / "models", DATA)
    goals = Goals(min_speed_up=1.5, batch_size=64)
    work = job(artefact, DATA, Wishes(quantise="int8"), goals)
    report = compress(work, tools(tmp_path / "scratch"))
    assert report.best is None and report.binding is not None
    assert report.binding.option == "--min-speed-up" and report.binding.excess == pytest.approx(0.5)
    assert "missed by 0.50" in report.outcomes[0].verdict
    with pytest.raises(ModelError, match="no model keeps the limits"):
        register_best(report, work, str(tmp_path / "models"), NOW)


def small_channel_data(rows: int, seed: int) -> Part:
    """Return images whose large channel is noise, and whose small one says the class."""
    random = np.random.default_rng(seed)
    classes_N = random.integers(0, 2, rows).astype(np.float32)
    x = random.normal(0, 1_000, (rows, 2, 4, 4))
    x[:, 1] = (2 * classes_N - 1)[:, None, None] + random.normal(0, 0.2, (rows, 4, 4))
    flat = x.reshape(rows, -1).astype(np.float32)
    return Part(flat, flat, classes_N)


def test_dynamic_int8_of_a_depthwise_convolution_is_refused(tmp_path: Path) -> None:
    """One scale for all channels loses the small one, and the file is a quarter of the size nevertheless."""
    weight = np.ones((2, 1, 1, 1), np.float32)
    dense = np.concatenate([np.zeros((16, 1)), np.ones((16, 1))]).astype(np.float32)
    layers = Layers(
        (Convolution(weight, np.zeros(2, np.float32), groups=2), Flatten(), Dense(dense, np.zeros(1, np.float32))),
        (2, 4, 4),
    )
    data = CompressionData(*(small_channel_data(rows, seed) for seed, rows in enumerate((100, 40, 200))))
    artefact = published(graph_subject(layers, Signature((), (2, 4, 4), "binary", 1), "depthwise"), tmp_path, data)
    goals = Goals(max_loss=0.01, batch_size=64)
    report = compress(job(artefact, data, Wishes(quantise="int8-dynamic"), goals), tools(tmp_path / "scratch"))
    (outcome,) = report.outcomes
    assert report.original.loss.original == 1.0
    assert outcome.measured is not None and not outcome.may_be_registered
    assert outcome.measured.loss.loss.value > 0.2
    test = outcome.measured.loss.test
    assert test is not None and test.p_value < 1e-6
    assert outcome.missed[0].option == "--max-loss" and "missed by" in outcome.verdict
    assert report.best is None


def test_steps_are_measured_one_after_the_other_and_a_student_is_compared(tmp_path: Path) -> None:
    artefact = published(graph_subject(spots_layers(32), spots_signature()), tmp_path / "models", DATA)
    wishes = Wishes(distil=Distil(widths=(8,)), prune=0.5, quantise="int4")
    report = compress(job(artefact, DATA, wishes, Goals(max_loss=1.0, batch_size=64)), tools(tmp_path / "scratch"))
    labels = [outcome.label for outcome in report.outcomes]
    assert labels == ["distill 8", "distill 8 + prune 0.5", "distill 8 + prune 0.5 + int4"]
    assert all(outcome.measured is not None for outcome in report.outcomes)
    notes = report.outcomes[-1].measured.subject.notes  # type: ignore[union-attr]
    assert "against trained on labels alone" in notes[0] and ("no gain" in notes[0] or "a gain" in notes[0])
    assert notes[1] == "widths 8-3 became 4-3"


def test_the_loss_of_a_slice_is_a_limit_of_its_own(tmp_path: Path) -> None:
    artefact = published(graph_subject(spots_layers(32), spots_signature()), tmp_path / "models", DATA)
    goals = Goals(max_loss=None, max_slice_loss=-1.0, batch_size=64)
    report = compress(job(artefact, DATA, Wishes(quantise="int8"), goals), tools(tmp_path / "scratch"))
    (check,) = report.outcomes[0].checks
    assert check.option == "--max-slice-loss" and not check.is_kept and "label=" in check.text


def test_a_method_of_trees_is_refused_for_a_net_and_no_method_at_all_is_an_error(tmp_path: Path) -> None:
    artefact = published(graph_subject(spots_layers(), spots_signature()), tmp_path / "models", DATA)
    work = job(artefact, DATA, Wishes(trees=0.5), Goals(batch_size=64))
    report = compress(work, tools(tmp_path / "scratch"))
    assert report.best is None and "not an ensemble of trees" in report.outcomes[0].verdict
    with pytest.raises(ConfigError, match="no method was asked for"):
        compress(job(artefact, DATA, Wishes(), Goals(batch_size=64)), tools(tmp_path / "scratch"))
