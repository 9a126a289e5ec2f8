"""What is done with personal data: by detector, and by the place where it was found."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

TOKEN_BYTES: Final = 12


class Place(StrEnum):
    """Where personal data is found in what a worker writes."""

    IDS = "ids"
    KEYS = "keys"
    HEADERS = "headers"
    ERRORS = "errors"
    DEAD_LETTERS = "dead_letters"


class Action(StrEnum):
    """What is done with it.

    DETECT: it is counted and stays.
    MASK: the name of the detector takes its place.
    HASH: a keyed hash takes its place, which is the same for the same text until the key rotates.
    DROP: the whole text is removed: the header, the field, or the key. Ids and messages cannot be: they are masked.
    """

    DETECT = "detect"
    MASK = "mask"
    HASH = "hash"
    DROP = "drop"


UNDROPPABLE: Final = frozenset({Place.IDS, Place.ERRORS})
"""Places whose texts every record has."""


@dataclass(frozen=True)
class Policy:
    """Which action is taken.

    of_place: for each place.
    overrides: by detector and place, or by detector and None for all places; these take precedence, the first form most.
    """

    of_place: Mapping[Place, Action]
    overrides: Mapping[tuple[str, Place | None], Action] = field(default_factory=dict)

    def action(self, detector: str, place: Place) -> Action:
        """Return the action for what a detector finds in a place."""
        by_place = self.overrides.get((detector, place))
        action = by_place or self.overrides.get((detector, None)) or self.of_place[place]
        return Action.MASK if action is Action.DROP and place in UNDROPPABLE else action


class Pseudonyms:
    """Keyed hashes (HMAC-SHA-256), with a key that changes with each period.

    Within a period the same text has the same hash, so that predictions can be joined and counted by it. Over two periods they
    cannot be related without the key.

    key: the secret from which the key of each period is derived.
    period_ms: length of a period; None for one that never ends.
    """

    def __init__(self, key: bytes, *, period_ms: int | None) -> None:
        self._key = key
        self._period_ms = period_ms
        self._period = -1
        self._period_key = b""

    def token(self, text: str, *, now_ms: int) -> str:
        """Return the hash of a text in the period of `now_ms`: 24 hexadecimal digits."""
        period = 0 if self._period_ms is None else now_ms // self._period_ms
        if period != self._period:
            self._period_key = hmac.digest(self._key, b"forebay-privacy-%d" % period, sha256)
            self._period = period
        return hmac.digest(self._period_key, text.encode("utf-8", "replace"), sha256)[:TOKEN_BYTES].hex()
