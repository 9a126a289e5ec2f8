"""What payloads of a format are decoded for, and valid payloads to mutate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.core.records import Record
from forebay.stream.decode import Decoder
from forebay.stream.decode.formats.payload import Format, Path
from forebay.stream.decode.models import DecodedModel

TOPIC: Final = "features"
Headers = tuple[tuple[str, bytes], ...]


class NotCompared(Exception):
    """The exact path of single records does not say what becomes of this one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A valid record.

    framing: number of first bytes that are seldom mutated, since without them another format would be fuzzed.
    repair: corrects checksums of a mutated payload; most mutated payloads are repaired.
    """

    value: bytes
    headers: Headers = ()
    key: bytes | None = b"k-1"
    framing: int = 0
    repair: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class TargetDecoder:
    """A decoder as a worker has it, and the exact path: what it decides about one record.

    exact: returns id, timestamp and row as float32 bytes, or raises InvalidEvent or NotCompared. None: nothing is compared.
    """

    decoder: Decoder
    model: DecodedModel
    exact: Callable[[Record, str], tuple[str, int, bytes]] | None = field(default=None)


@dataclass(frozen=True)
class TargetFormat:
    """A format without models. paths: of the fields that are read as columns, alone and together."""

    format: Format
    paths: Sequence[Path]


@dataclass(frozen=True)
class Target:
    """What polls are decoded with, and samples that it decodes to rows or documents.

    make: returns a new decoder with its model, or a format.
    has_many_rows: whether a record may become several rows.
    """

    name: str
    make: Callable[[], TargetDecoder | TargetFormat]
    samples: Sequence[Sample]
    has_many_rows: bool = False
