"""The observer protocol of rollouts: calls about revisions, loads and switches in one worker."""

from __future__ import annotations

from typing import Protocol

from forebay.stream.rollouts.revision import Revision


class RolloutObserver(Protocol):
    """Receives calls on the event loop. Calls must not raise or block."""

    def on_accepted(self, revision: Revision) -> None:
        """Observe a revision that was accepted after the worker had read the log to its end once."""

    def on_loaded(self, model: str, duration_s: float) -> None:
        """Observe that a version was loaded, checked and warmed up."""

    def on_load_failed(self, model: str) -> None:
        """Observe that a version could not be loaded."""

    def on_switched(self, model: str) -> None:
        """Observe that the switch of a partition is written with a commit, which may still fail."""


class NullRolloutObserver:
    """An observer that ignores all calls."""

    def on_accepted(self, revision: Revision) -> None:
        pass

    def on_loaded(self, model: str, duration_s: float) -> None:
        pass

    def on_load_failed(self, model: str) -> None:
        pass

    def on_switched(self, model: str) -> None:
        pass
