"""Where the keyring comes from: a file, an environment variable, or a command (the client of a key management service)."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from forebay.schemas.errors import ConfigError
from forebay.stream.config.encryption_section import EncryptionSection
from forebay.stream.encryption.keyring import Keyring, KeyringInvalid, parse_keyring

MAX_BYTES: Final = 1 << 20
REMEDY: Final = (
    "`forebay keys new --file keys.json` writes a JWK set that Forebay reads; docs/encryption.md describes it"
)

ReadKeys = Callable[[], Keyring]
"""Reads the keyring again. May take a while. Raises ConfigError, whose message contains no key."""


def key_reader(section: EncryptionSection, environment: Mapping[str, str] = os.environ) -> ReadKeys:
    """Return what reads the keys of a configuration. One source must be set."""
    if section.keys_file is not None:
        path = Path(section.keys_file)
        return lambda: read_key_file(path)
    if section.keys_command is not None:
        arguments = shlex.split(section.keys_command)
        return lambda: _parse(
            run_key_command(arguments, timeout_s=section.keys_timeout_ms / 1000), f"from {arguments[0]}"
        )
    assert section.keys_variable is not None
    return lambda: _read_variable(section.keys_variable or "", environment)


def read_key_file(path: Path) -> Keyring:
    """Return the keys of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"the keys cannot be read from {path}: {error.strerror}", kind="keys_unreadable", remedy=REMEDY
        ) from None
    return _parse(text, str(path))


def _read_variable(name: str, environment: Mapping[str, str]) -> Keyring:
    text = environment.get(name)
    if not text:
        raise ConfigError(
            f"the environment variable {name}, which encryption.keys_variable names, is not set",
            kind="keys_unreadable",
            remedy=REMEDY,
        )
    return _parse(text.encode(), f"the environment variable {name}")


def read_local_kms_secret(section: EncryptionSection, environment: Mapping[str, str] = os.environ) -> bytes:
    """Return the secret of Confluent's local-kms, without space around it. Blocks. Raises ConfigError."""
    remedy = "it is the secret of the producers, local.secret or LOCAL_SECRET there"
    if section.local_kms_secret_file is not None:
        place = section.local_kms_secret_file
        try:
            secret = Path(place).read_bytes()[:MAX_BYTES]
        except OSError as error:
            raise ConfigError(
                f"the secret of local-kms cannot be read from {place}: {error.strerror}",
                kind="keys_unreadable",
                remedy=remedy,
            ) from None
    elif section.local_kms_secret_command is not None:
        arguments = shlex.split(section.local_kms_secret_command)
        place = f"the command {arguments[0]}"
        timeout_s = section.keys_timeout_ms / 1000
        secret = run_key_command(arguments, timeout_s=timeout_s, setting="local_kms_secret_command")
    else:
        name = section.local_kms_secret_variable or ""
        place, secret = f"the environment variable {name}", environment.get(name, "").encode()
    if not secret.strip():
        raise ConfigError(f"{place} has no secret of local-kms", kind="keys_unreadable", remedy=remedy)
    return secret.strip()


def run_key_command(arguments: list[str], *, timeout_s: float, setting: str = "keys_command") -> bytes:
    """Return what a command prints. Its output and its arguments are in no message. Raises ConfigError.

    Blocks: for a thread. The command is run without a shell, in a session of its own, so that its children end with it.
    """
    program = arguments[0]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may repeat a key
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid arguments"
        raise _command_error(
            program, f"cannot be run: {reason}", "check that it is installed and on PATH", setting
        ) from None
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise _command_error(
                program,
                f"printed no keys within {timeout_s:g} s",
                "find out why, or raise encryption.keys_timeout_ms",
                setting,
            ) from None
    if process.returncode != 0:
        raise _command_error(
            program, f"ended with status {process.returncode}", "run it by hand, as the same user", setting
        )
    return output


def _command_error(program: str, what: str, remedy: str, setting: str) -> ConfigError:
    return ConfigError(
        f"the command of encryption.{setting} ({program} ...) {what}", kind="keys_unreadable", remedy=remedy
    )


def _parse(text: bytes, place: str) -> Keyring:
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{place}: more than {MAX_BYTES} bytes", kind="keys_invalid", remedy=REMEDY)
    try:
        return parse_keyring(text)
    except KeyringInvalid as fault:
        raise ConfigError(f"the keys are invalid ({place}): {fault}", kind="keys_invalid", remedy=REMEDY) from None
