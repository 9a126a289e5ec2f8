"""The pages in docs/migrate: the old worker is valid where its library is installed, and the new one predicts the event."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import forebay
from forebay.testing import OfflineWorker, assert_outcomes
from tests.docs.blocks import blocks_of
from tests.source_files import ROOT

LIBRARIES = {"aiokafka": "aiokafka", "faust": "faust", "quix-streams": "quixstreams", "mlserver-seldon": "mlserver"}


@pytest.fixture(params=LIBRARIES)
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "scoring", raising=False)
    return str(request.param)


def test_both_workers(page: str, tmp_path: Path) -> None:
    blocks = blocks_of((ROOT / "docs" / "migrate" / f"{page}.md").read_text(encoding="utf-8"))
    old, new = (block.text for block in blocks if block.language == "python")
    code = compile(old, f"{page}.md", "exec")
    # `find_spec` fails for Faust once it is imported.
    if LIBRARIES[page] in sys.modules or find_spec(LIBRARIES[page]) is not None:
        exec(code, {"__name__": "old_worker"})
    (settings,) = (block.text for block in blocks if block.language == "toml")
    (event,) = (block.text for block in blocks if block.language == "json")
    (tmp_path / "scoring.py").write_text(new)
    (tmp_path / "forebay.toml").write_text(settings)
    declared = "scoring:Risk" if "class Risk" in new else "scoring:risk"
    forebay.register(declared, name="risk")
    worker = OfflineWorker.from_config("forebay.toml", environ={})
    outcomes = worker.outcomes([event.encode(), b'{"id": "o2"}', b"not JSON"], topic="orders")
    assert_outcomes(outcomes, predicted=1, missing_field=1, not_json=1)
    assert outcomes[0].prediction["id"] == "o1"
    assert outcomes[0].prediction["prediction"] == [pytest.approx(0.68)]


def test_every_page_is_tested() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "migrate").glob("*.md")} - {"README"}
    assert pages == set(LIBRARIES)
