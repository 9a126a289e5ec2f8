"""Routes the chunks of a poll to the versions that the current revisions name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.pipeline.chunk_division import DividedChunk
from forebay.stream.pipeline.routing_keys import RoutingKeys, keys_by_field, usual_keys
from forebay.stream.pipeline.served_revision import ServedRevision


@dataclass(frozen=True, slots=True)
class _Division:
    """How the chunks of a model are divided.

    redecoded: the versions whose columns differ from those of the stable version.
    """

    served: ServedRevision
    keys: RoutingKeys
    redecoded: frozenset[int]


class RolloutRouter:
    """Divides chunks among versions. Chunks of a model whose revision has one version only pass as they are.

    decoder: decodes for the stable versions.
    """

    def __init__(self, decoder: VersionedDecoder) -> None:
        self._decoder = decoder
        self._divisions: dict[str, _Division] = {}

    def switch(self, served: ServedRevision) -> None:
        """Route the chunks of a model by this revision from now on. All its versions must be known to the decoder."""
        stable = ModelRef(served.model, served.stable)
        self._decoder.serve(stable)
        if served.refs == {stable}:
            self._divisions.pop(served.model, None)
            return
        self._divisions[served.model] = _Division(
            served,
            keys=usual_keys if served.route_by is None else keys_by_field(served.route_by),
            redecoded=frozenset(ref.version for ref in served.refs if not self._decoder.have_same_columns(stable, ref)),
        )

    def route(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Return the chunks of all versions: each record is in exactly one, and the chunks of each version are in order.

        A chunk ends after its own last record; the one with the last record of the given chunk ends where that does.
        """
        if not self._divisions:
            return chunks
        routed: list[Chunk] = []
        for chunk in chunks:
            division = self._divisions.get(chunk.model.name)
            if division is None:
                routed.append(chunk)
            else:
                routed.extend(self._divide(chunk, division))
        return routed

    def _divide(self, chunk: Chunk, division: _Division) -> Iterator[Chunk]:
        divided = DividedChunk(chunk, _versions(division.keys(chunk), division.served))
        *others, most = divided.versions()
        if not others and most not in division.redecoded:
            yield chunk if most == chunk.model.version else replace(chunk, model=ModelRef(chunk.model.name, most))
            return
        rest = chunk.num_bytes
        for version in (*others, most):
            if version in division.redecoded:
                parts = self._decode_again(chunk, version, divided)
                rest -= sum(part.num_bytes for part in parts)
                yield from parts
                continue
            num_bytes = rest if version == most else divided.num_bytes_of(version)
            rest -= num_bytes
            yield divided.part_of(version, num_bytes=num_bytes)

    def _decode_again(self, chunk: Chunk, version: int, divided: DividedChunk) -> list[Chunk]:
        """Return the chunks of a version whose columns differ from those of the chunk."""
        ref = ModelRef(chunk.model.name, version)
        return self._decoder.decode_for(ref, chunk.partition, divided.records_of(version), chunk.epoch)


def _versions(keys: Sequence[bytes | None], served: ServedRevision) -> npt.NDArray[np.int64]:
    """Return the version of each record, int64 [records]: the stable one without a key."""
    known = [key for key in keys if key is not None]
    if len(known) == len(keys):
        return served.allocation.versions_of(known)
    versions_N = np.full(len(keys), served.stable, np.int64)
    versions_N[[key is not None for key in keys]] = served.allocation.versions_of(known)
    return versions_N
