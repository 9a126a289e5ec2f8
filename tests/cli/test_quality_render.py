"""Texts of records in the tables of quality and drift."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console, RenderableType

from forebay.stream.cli.drift_render import print_version
from forebay.stream.cli.models_experiment_render import nothing_text
from forebay.stream.cli.quality_render import report_text
from forebay.stream.drift.detector import Detector
from forebay.stream.drift.measures import DriftThresholds
from forebay.stream.experiments.report import ExperimentView
from forebay.stream.quality.keys import QualityKey
from forebay.stream.quality.report import quality_report
from forebay.stream.quality.view import QualityView
from forebay.stream.quality.wire import QualityParts, encode_parts
from tests.drift.build import CountingWorker, bins_of, key_of, signature_of
from tests.quality.samples import binary


def shown(text: RenderableType) -> str:
    output = StringIO()
    Console(file=output, width=200, force_terminal=False).print(text)
    return output.getvalue()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("site=[/x]", "site=[/x]"),
        ("site=[bold]", "site=[bold]"),
        ("site=a\nb", r"site=a\nb"),
        ("site=\x1b[31m", r"site=\x1b[31m"),
    ],
)
def test_any_text_of_a_label_is_a_row_of_the_table_of_slices(name: str, expected: str) -> None:
    view = QualityView(group="g")
    parts = QualityParts(sums=binary(9, 0).sums())
    view.read(encode_parts(QualityKey("m", 1, 0, name), parts, window_s=3600, group="g", worker="w")[1])
    lines = shown(report_text(quality_report(view, since_ms=0, random=None))).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("site")] == [[expected, "9"]]


def test_control_characters_in_names_of_models_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    x_NF = np.zeros((9, 1), np.float32)
    worker = CountingWorker(bins_of(signature_of(1), x_NF))
    detector = Detector(DriftThresholds())
    key = key_of(1, model="\x1b[31mred")
    detector.add(worker.record(key, x_NF))
    print_version(detector, key.ref, all_columns=False)
    output = capsys.readouterr().out
    assert "\x1b[31m" not in output and r"\x1b[31mred" in output
    view = ExperimentView("m", group="g", since_ms=0)
    view.other_models.add("\x1b[31mred")
    assert r"only of \x1b[31mred" in shown(nothing_text("m", view, since_ms=0))
