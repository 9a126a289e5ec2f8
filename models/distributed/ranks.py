"""The ranks of a training: this process among the others, as torchrun's environment states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from forebay.schemas.errors import ConfigError

MAX_WORLD_SIZE: Final = 4_096

# Set by our launcher, beside torchrun's variables. No double underscore: these are not settings.
SERVER_VARIABLE: Final = "FOREBAY_PARAMETER_SERVER"
TOKEN_VARIABLE: Final = "FOREBAY_PARAMETER_SERVER_TOKEN"  # noqa: S105 - a name
ATTEMPT_VARIABLE: Final = "FOREBAY_ATTEMPT"
LISTENER_VARIABLE: Final = "FOREBAY_LISTENER"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the ranks.

    local_rank: its number on this host, which is also that of its GPU.
    master: host and port at which the ranks meet.
    listener: descriptor of a socket that listens at `master`, inherited by rank 0 from the launcher; -1 for none.
    server: host and port of the parameter server, None without one. token: the secret that it expects.
    attempt: how often the launcher has restarted the ranks.
    """

    rank: int
    world_size: int
    local_rank: int
    master: tuple[str, int]
    listener: int = -1
    server: tuple[str, int] | None = None
    token: str = ""
    attempt: int = 0

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Ranks | None:
        """Return the ranks that the environment describes; None without RANK and WORLD_SIZE.

        Raises ConfigError that names the variables that are missing or wrong.
        """
        if "RANK" not in environ and "WORLD_SIZE" not in environ:
            return None
        reader = _Reader(environ)
        world_size = reader.integer("WORLD_SIZE", least=1, most=MAX_WORLD_SIZE)
        rank = reader.integer("RANK", least=0, most=max(0, world_size - 1))
        port = reader.integer("MASTER_PORT", least=1, most=65_535)
        ranks = cls(
            rank=rank,
            world_size=world_size,
            local_rank=reader.integer("LOCAL_RANK", least=0, most=MAX_WORLD_SIZE, default=0),
            master=(reader.text("MASTER_ADDR"), port),
            listener=reader.integer(LISTENER_VARIABLE, least=-1, most=1_048_576, default=-1),
            server=reader.address(SERVER_VARIABLE),
            token=environ.get(TOKEN_VARIABLE, ""),
            attempt=reader.integer(ATTEMPT_VARIABLE, least=0, most=1_000_000, default=0),
        )
        reader.check()
        return ranks


class _Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def text(self, name: str) -> str:
        value = self._environ.get(name, "")
        if not value:
            self._problems.append(f"{name} is not set")
        return value

    def integer(self, name: str, *, least: int, most: int, default: int | None = None) -> int:
        value = self._environ.get(name, "")
        if not value and default is not None:
            return default
        if not value:
            self._problems.append(f"{name} is not set")
        elif not value.removeprefix("-").isdecimal() or not least <= int(value) <= most:
            self._problems.append(f"{name} is {value!r}; allowed is a whole number from {least} to {most}")
        else:
            return int(value)
        return least

    def address(self, name: str) -> tuple[str, int] | None:
        value = self._environ.get(name, "")
        if not value:
            return None
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            self._problems.append(f"{name} is {value!r}; allowed is HOST:PORT")
            return None
        return host, int(port)

    def check(self) -> None:
        if self._problems:
            raise ConfigError(
                "the environment does not describe the ranks of a training",
                problems=self._problems,
                remedy="start the ranks with `forebay train --nproc N` or torchrun, or unset RANK and WORLD_SIZE",
            )
