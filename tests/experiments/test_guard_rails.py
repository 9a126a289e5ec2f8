"""Several metrics at a stated rate of false alarms."""

from __future__ import annotations

import numpy as np
import pytest
import ville

from forebay.stream.experiments.guard_rails import alpha_of_each, false_discovery, family_wise


def test_the_strongest_evidence_must_convince_for_all() -> None:
    assert family_wise({"a": 59.0, "b": 1.0, "c": 1.0}, 0.05) == set()
    assert family_wise({"a": 60.0, "b": 39.0, "c": 19.0}, 0.05) == {"a"}
    assert family_wise({"a": 60.0, "b": 40.0, "c": 20.0}, 0.05) == {"a", "b", "c"}
    assert family_wise({}, 0.05) == set()
    assert alpha_of_each(0.06, 3) == pytest.approx(0.02)


def test_false_discovery_is_that_of_ville() -> None:
    generator = np.random.default_rng(3)
    for _ in range(50):
        values = np.exp(generator.normal(2, 2, 8))
        expected = set(np.flatnonzero(ville.evalues.ebh(values, alpha=0.1)).tolist())
        found = false_discovery({str(number): float(value) for number, value in enumerate(values)}, 0.1)
        assert {int(name) for name in found} == expected


def test_false_discovery_finds_at_least_as_much() -> None:
    values = {"a": 40.0, "b": 31.0, "c": 1.0}
    assert family_wise(values, 0.05) == set()
    assert false_discovery(values, 0.05) == {"a", "b"}
