"""What payloads of a format are decoded for, and valid payloads to mutate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forebay.stream.core.records import Record
from forebay.stream.decode import Decoder
from forebay.stream.decode.models import DecodedModel

Headers = tuple[tuple[str, bytes], ...]


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
class Target:
    """A decoder and samples of one format that it decodes to rows.

    topic: of the samples.
    make: returns a new decoder with its model.
    has_many_rows: whether a record may become several rows.
    """

    name: str
    topic: str
    make: Callable[[], TargetDecoder]
    samples: Sequence[Sample]
    has_many_rows: bool = False


@dataclass(frozen=True)
class TargetDecoder:
    """A decoder as a worker has it, and the exact path: what it decides about one record.

    exact: returns id, timestamp and row as float32 bytes, or raises InvalidEvent. None: there is no such path for one record.
    """

    decoder: Decoder
    model: DecodedModel
    exact: Callable[[Record, str], tuple[str, int, bytes]] | None = field(default=None)
