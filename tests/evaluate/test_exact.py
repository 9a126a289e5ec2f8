"""The evaluator as a process, killed once on the embedded broker. The long proof is `make test-evaluate`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from forebay.stream.cli import main
from tests.brokers.clients import read_committed
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.exactness.evaluation_feed import EARLY_S, HORIZON_S, WINDOW_S
from tests.exactness.evaluation_proof import EvaluationProof, Plan
from tests.exactness.evaluation_recount import recount


async def test_sums_equal_a_recount_after_a_kill(
    embedded_broker: Broker,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = Plan(
        seed=7,
        count=3_000,
        evaluators=1,
        kills=1,
        partitions=2,
        feed_s=3.0,
        kill_every_s=1.5,
        step_ms=4_000,
        static=True,
    )
    report = await EvaluationProof(plan, embedded_broker.bootstrap, names(""), tmp_path).run()
    assert report.predictions == 3_000 and report.matched > 2_000 and report.refused > 0
    monkeypatch.chdir(tmp_path)
    place = ["--bootstrap-server", embedded_broker.bootstrap, "--set", f"topics.prefix={names('')}"]
    place += ["--set", f"kafka.group_id={names('')}group"]
    assert await asyncio.to_thread(main, ["quality", "--json", "--since", "7d", *place]) == 0
    shown = json.loads(capsys.readouterr().out)["quality"]
    raw = [await read_committed(embedded_broker.bootstrap, names(name), 2) for name in ("predictions", "labels")]
    cells, _, _ = recount(*raw, horizon_ms=HORIZON_S * 1000, early_ms=EARLY_S * 1000, window_ms=WINDOW_S * 1000)
    assert [(one["model"], one["version"]) for one in shown] == sorted({key[:2] for key in cells})
    for subject in shown:
        pairs = [
            pair
            for key, cell in cells.items()
            if key[:2] == (subject["model"], subject["version"])
            for pair in cell.pairs
        ]
        actual, scores = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        scores = scores.astype(np.float32).astype(np.float64)  # as a model returns them
        total = subject["total"]
        assert total["log_loss"] == pytest.approx(sk.log_loss(actual, scores), abs=1e-9)
        assert total["brier"] == pytest.approx(sk.brier_score_loss(actual, scores), abs=1e-9)
        assert total["f1"] == pytest.approx(sk.f1_score(actual, scores >= 0.5), abs=1e-9)
        assert total["roc_auc"] == pytest.approx(sk.roc_auc_score(actual, scores), abs=1e-3)
