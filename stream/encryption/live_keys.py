"""The keyring of a running service, with its ciphers. It is read again while the service runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forebay.schemas.errors import ForebayError
from forebay.stream.core.clock import Clock
from forebay.stream.encryption.jwe import Cipher, TokenSealer
from forebay.stream.encryption.key_sources import ReadKeys
from forebay.stream.encryption.keyring import Keyring
from forebay.stream.encryption.nonces import NonceSequence

log = logging.getLogger("forebay.encryption")

MIN_WAIT_S: Final = 1.0
"""Time between two readings because of an unknown key: an attacker must not make a worker read the file all the time."""


def new_cipher(key: bytes) -> Cipher:
    """Return AES-GCM with a key."""
    return AESGCM(key)


class LiveKeys:
    """Keys that are read again: regularly, on a thread; and, from a file, at once if a token names a key that is unknown.

    read: reads the keys.
    refresh_s: time between two readings; None to read once.
    reads_at_once: whether reading takes so little time that the event loop may wait for it.

    Raises ConfigError if the keys cannot be read at the start. Later failures are logged, and the keys of before stay.
    """

    def __init__(self, read: ReadKeys, *, clock: Clock, refresh_s: float | None, reads_at_once: bool = False) -> None:
        self._read = read
        self._clock = clock
        self._refresh_s = refresh_s
        self._reads_at_once = reads_at_once
        self._next_s = clock.monotonic_s() + (refresh_s or 0.0)
        self._read_at_once_s = float("-inf")
        self._reading: threading.Thread | None = None
        self._nonces_of: dict[bytes, NonceSequence] = {}
        self._ciphers: dict[bytes, Cipher] = {}
        self._use(read())

    @property
    def keyring(self) -> Keyring:
        """The keys in force."""
        return self._keyring

    @property
    def ciphers(self) -> Mapping[str, Cipher]:
        """A cipher for each key, by its id. Another object if the keys have changed."""
        return self._by_kid

    @property
    def sealer(self) -> TokenSealer:
        """What encrypts with the current key. Another object if the keys have changed."""
        return self._sealer

    def refresh(self) -> None:
        """Begin to read the keys again if it is time. Returns at once; called for each poll."""
        if self._refresh_s is None or self._clock.monotonic_s() < self._next_s:
            return
        self._next_s = self._clock.monotonic_s() + self._refresh_s
        if self._reading is None or not self._reading.is_alive():
            self._reading = threading.Thread(target=self._read_again, name="forebay-keys", daemon=True)
            self._reading.start()

    def refresh_for_unknown_key(self) -> bool:
        """Read the keys again because a token names another one, and return whether they have changed.

        From a command, the reading only begins: tokens with the new key are rejected until it ends.
        """
        now_s = self._clock.monotonic_s()
        if self._refresh_s is None or now_s < self._read_at_once_s + MIN_WAIT_S:
            return False
        self._read_at_once_s = now_s
        if self._reads_at_once:
            return self._read_again()
        self._next_s = now_s
        self.refresh()
        return False

    def _read_again(self) -> bool:
        try:
            keyring = self._read()
        except ForebayError as error:
            log.warning("%s; the keys of before stay in use", error.message)
            return False
        if keyring == self._keyring:
            return False
        log.info("the keys have changed: there are %d, and %s encrypts", len(keyring.keys), keyring.current)
        self._use(keyring)
        return True

    def _use(self, keyring: Keyring) -> None:
        for key in keyring.keys.values():
            if key not in self._ciphers:
                self._ciphers[key] = AESGCM(key)
        key = keyring.keys[keyring.current]
        # A key that becomes current again, also under another id, continues its sequence.
        nonces = self._nonces_of.setdefault(key, NonceSequence())
        self._keyring = keyring  # the three are replaced one after the other: each is complete by itself
        self._by_kid = {kid: self._ciphers[key] for kid, key in keyring.keys.items()}
        self._sealer = TokenSealer(keyring, self._ciphers[key], nonces)
