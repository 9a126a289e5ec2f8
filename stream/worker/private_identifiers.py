"""Protects ids and keys of events in what is written beside the commits: the predictions of shadows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.core.clock import Clock
from forebay.stream.privacy.policy import Place
from forebay.stream.privacy.protector import Protector
from forebay.stream.worker.privacy_assembly import detectors_of, pseudonyms_of

Keys = Sequence[bytes | None]


class PrivateIdentifiers:
    """Replaces ids and keys as the policy says, in the same way as in predictions. For one thread."""

    def __init__(self, protector: Protector, *, clock: Clock) -> None:
        self._protector = protector
        self._clock = clock

    def __call__(self, ids: Sequence[str], keys: Keys) -> tuple[Sequence[str], Keys]:
        """Return the protected ids and keys, in order."""
        now_ms = self._clock.wall_ms()
        new_ids = self._protector.texts(list(ids), Place.IDS, now_ms=now_ms)
        new_keys = self._protector.values([key or b"" for key in keys], Place.KEYS, now_ms=now_ms)
        if new_ids:
            ids = [new_ids.get(row) or text for row, text in enumerate(ids)]
        if new_keys:
            keys = [new_keys.get(row, key) for row, key in enumerate(keys)]
        return ids, keys


def identifier_protection(section: PrivacySection, *, clock: Clock) -> Callable[[], PrivateIdentifiers] | None:
    """Return what builds the protection of each shadow; None without [privacy]. Raises ConfigError."""
    if not section.enabled:
        return None
    detectors, policy = detectors_of(section), section.policy()
    pseudonyms_of(section)  # a missing key is an error at the start rather than of a shadow

    return lambda: PrivateIdentifiers(Protector(detectors, policy, pseudonyms_of(section)), clock=clock)
