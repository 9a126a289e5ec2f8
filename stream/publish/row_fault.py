"""The reason why a row cannot become an event."""

from __future__ import annotations


class RowFault(Exception):
    """The reason why a row cannot become an event."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
