"""Tests of your own models and mappings, without Kafka and without Java.

    from forebay.testing import OfflineWorker, assert_outcomes

    def test_events_of_the_shop() -> None:
        worker = OfflineWorker.from_config("forebay.toml")
        outcomes = worker.outcomes([b'{"order": 1, "amount": 9.5}', b'{"order": 2}'], topic="orders")
        assert_outcomes(outcomes, predicted=1, missing_field=1)

The events go through the decoder, preparation, model, decision and encoder of a worker with these settings.
"""

from forebay.stream.core.clock import Clock
from forebay.stream.offline.clock import ManualClock
from forebay.stream.offline.outcomes import Outcome, assert_outcomes
from forebay.stream.offline.worker import OfflineWorker

__all__ = ["Clock", "ManualClock", "OfflineWorker", "Outcome", "assert_outcomes"]
