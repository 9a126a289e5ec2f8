"""`forebay keys`: keys for encrypted fields."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forebay.stream.cli.examples import examples
from forebay.stream.cli.options import json_option
from forebay.stream.cli.output import echo, echo_json
from forebay.stream.cli.subcommands import SubcommandGroup

if TYPE_CHECKING:
    from forebay.stream.encryption.keyring import Keyring

file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="keys.json",
    show_default=True,
    help="The file with the keys, a JWK set.",
)


@click.group(
    name="keys",
    cls=SubcommandGroup,
    answers={
        "rotate": "`forebay keys new` adds a key; when all workers have it, `forebay keys use KID` makes it current.",
        "show": "`forebay keys list` shows the ids; the keys themselves are only in the file.",
    },
    epilog=examples(
        ("forebay keys new", "a first key, in ./keys.json"),
        ("forebay keys new --kid 2027-01", "add the next key, which only decrypts for now"),
        ("forebay keys use 2027-01", "encrypt with it, once all workers and readers have it"),
        ("forebay keys list", "the ids of the keys"),
    ),
)
def command() -> None:
    """Create and list the keys that encrypt fields of events and predictions (see [encryption])."""


@command.command(
    "new",
    epilog=examples(
        ("forebay keys new --file /etc/forebay/keys.json", "a first key"),
    ),
)
@file_option
@click.option("--kid", metavar="ID", help="The id of the key. [default: the date, and random letters]")
def new_key(file: Path, kid: str | None) -> None:
    """Add a random key of 256 bits to the file, or write the file with it.

    The first key is current: it encrypts. Further ones only decrypt until `forebay keys use`.
    """
    from forebay.schemas.errors import ConfigError
    from forebay.stream.encryption.keyring import KEY_BYTES, MAX_KID_CHARS, Keyring

    kid = kid or f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(2)}"
    if not 0 < len(kid) <= MAX_KID_CHARS or not kid.isprintable():
        raise click.UsageError(f"--kid must be 1 to {MAX_KID_CHARS} printable characters")
    key = secrets.token_bytes(KEY_BYTES)
    if file.exists():
        keyring = _read(file)
        if kid in keyring.keys:
            raise ConfigError(f"{file} has a key {kid!r} already", kind="kid_exists", remedy="choose another --kid")
        keyring = keyring.with_key(kid, key, make_current=False)
        added = f"added the key {kid} to {file}; {keyring.current} still encrypts"
    else:
        keyring = Keyring({kid: key}, kid)
        added = f"wrote the key {kid} to {file}, which only you may read"
    _write(file, keyring)
    echo(added)


@command.command(
    "use",
    epilog=examples(
        ("forebay keys use 2027-01", "encrypt with this key from now on"),
    ),
)
@click.argument("kid", metavar="KID")
@file_option
def use_key(kid: str, file: Path) -> None:
    """Make KID the current key, which encrypts. All others go on to decrypt.

    Every reader must have the key before: workers read the file again every encryption.keys_refresh_ms.
    """
    from forebay.schemas.errors import ConfigError

    keyring = _read(file)
    if kid not in keyring.keys:
        raise ConfigError(f"{file} has no key {kid!r}", kind="no_such_kid", remedy=f"it has {', '.join(keyring.kids)}")
    _write(file, keyring.with_current(kid))
    echo(f"{kid} encrypts now")


@command.command(
    "list",
    epilog=examples(
        ("forebay keys list --json", "for scripts"),
    ),
)
@file_option
@json_option
def list_keys(file: Path, as_json: bool) -> None:
    """Print the ids of the keys, never the keys."""
    keyring = _read(file)
    if as_json:
        echo_json({"current": keyring.current, "kids": list(keyring.kids)})
        return
    for kid in keyring.kids:
        echo(f"{kid}  encrypts and decrypts" if kid == keyring.current else f"{kid}  decrypts")


def _read(file: Path) -> Keyring:
    from forebay.stream.encryption.key_sources import read_key_file

    return read_key_file(file)


def _write(file: Path, keyring: Keyring) -> None:
    """Replace the file at once, readable by its owner only. Raises StorageError."""
    from forebay.schemas.errors import StorageError
    from forebay.stream.encryption.keyring import format_keyring

    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(format_keyring(keyring))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{file} cannot be written: {error.strerror}", kind="keys_unwritable") from None
