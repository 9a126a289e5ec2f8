"""Keys that are read again while a service runs, from a file and from a command."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import EncryptionSection
from forebay.stream.encryption.key_sources import key_reader, read_local_kms_secret
from forebay.stream.encryption.keyring import Keyring, format_keyring
from forebay.stream.encryption.live_keys import LiveKeys
from tests.core.build import ManualClock
from tests.encryption.build import KEY, KEYRING

ONE = Keyring({"a": KEY}, "a")


def live(path: Path, clock: ManualClock) -> LiveKeys:
    read = key_reader(EncryptionSection(input_fields=("features.age",), keys_file=str(path)))
    return LiveKeys(read, clock=clock, refresh_s=10, reads_at_once=True)


def test_a_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "keys.json", ManualClock()
    path.write_bytes(format_keyring(ONE))
    keys = live(path, clock)
    before = keys.ciphers
    path.write_text('{"keys": "secret text"}')
    clock.advance(10)
    with caplog.at_level(logging.WARNING):
        keys.refresh()
        assert keys._reading is not None
        keys._reading.join()
    assert keys.ciphers is before and "stay in use" in caplog.text and "secret text" not in caplog.text
    path.write_bytes(format_keyring(KEYRING))
    keys.refresh()
    assert keys.ciphers is before  # it is not time yet
    clock.advance(10)
    keys.refresh()
    keys._reading.join()
    assert set(keys.ciphers) == {"a", "b"}


def test_an_unknown_key_reads_the_file_at_once_but_not_all_the_time(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", ManualClock()
    path.write_bytes(format_keyring(ONE))
    keys = live(path, clock)
    assert not keys.refresh_for_unknown_key()
    path.write_bytes(format_keyring(KEYRING.with_current("b")))
    assert not keys.refresh_for_unknown_key()
    clock.advance(1)
    assert keys.refresh_for_unknown_key() and keys.keyring.current == "b"


def command(code: str, timeout_ms: int = 10_000) -> EncryptionSection:
    text = f'{sys.executable} -c "{code}" secret-argument'
    return EncryptionSection(input_fields=("f",), keys_command=text, keys_timeout_ms=timeout_ms)


def test_a_command_prints_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(format_keyring(KEYRING))
    assert key_reader(command(f"print(open('{path}').read())"))() == KEYRING


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (command("print('secret-output')"), "not JSON"),
        (command("import sys; print('secret-output', file=sys.stderr); sys.exit(3)"), "status 3"),
        (command("import time; time.sleep(60)", timeout_ms=300), r"no keys within 0\.3 s"),
        (EncryptionSection(keys_command="/no/such/program secret-argument"), "cannot be run"),
        (EncryptionSection(keys_file="/no/such/file"), "No such file"),
        (EncryptionSection(keys_variable="NO_SUCH_VARIABLE"), "is not set"),
    ],
)
def test_a_source_that_fails_is_named_without_what_it_printed(section: EncryptionSection, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        key_reader(section)()
    assert "secret" not in caught.value.message


def test_a_variable(tmp_path: Path) -> None:
    section = EncryptionSection(keys_variable="KEYS")
    assert key_reader(section, {"KEYS": format_keyring(ONE).decode()})() == ONE


def test_the_secret_of_local_kms_has_three_sources(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("words \n")
    print_it = f"{sys.executable} -c 'print(\"words\")'"
    for section in (
        EncryptionSection(local_kms_secret_file=str(path)),
        EncryptionSection(local_kms_secret_variable="SECRET"),
        EncryptionSection(local_kms_secret_command=print_it),
    ):
        assert read_local_kms_secret(section, {"SECRET": "words"}) == b"words"
    for section, place in (
        (EncryptionSection(local_kms_secret_file=str(tmp_path / "no")), "cannot be read"),
        (EncryptionSection(local_kms_secret_variable="OTHER"), "OTHER has no secret"),
        (EncryptionSection(local_kms_secret_command=f"{sys.executable} -c 'exit(1)'"), "local_kms_secret_command"),
    ):
        with pytest.raises(ConfigError, match=place):
            read_local_kms_secret(section, {})
