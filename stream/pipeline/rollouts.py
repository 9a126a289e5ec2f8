"""The versions that a pipeline serves: which are loaded, and by which revisions events are routed to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.schemas.errors import ConfigError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Record, TopicPartition, Unreadable
from forebay.stream.decode import DecodedModel
from forebay.stream.decode.versioned_decoder import VersionedDecoder
from forebay.stream.output.emitter import ModelEmitter
from forebay.stream.output.lanes_emitter import LanesEmitter
from forebay.stream.pipeline.rollout_router import RolloutRouter
from forebay.stream.pipeline.served_revision import ServedRevision
from forebay.stream.pipeline.switch_ledger import SwitchLedger
from forebay.stream.pipeline.switch_recorder import SwitchRecorder


class Rollouts:
    """The parts of a pipeline in which a revision takes effect.

    decoder: begins with the configured versions.
    emitters: of the configured versions.
    ledger: of the models that take part.
    recorder: writes what the ledger says.
    """

    def __init__(
        self, decoder: VersionedDecoder, emitters: LanesEmitter, ledger: SwitchLedger, recorder: SwitchRecorder
    ) -> None:
        self._decoder = decoder
        self._emitters = emitters
        self._ledger = ledger
        self._recorder = recorder
        self._router = RolloutRouter(decoder)

    def numbers(self) -> Mapping[str, int]:
        """Return the number of the revision by which the events of each model are routed."""
        return self._ledger.applied

    def require(self, name: str) -> None:
        """Raise ConfigError if a model takes no part in rollouts."""
        if name not in self._ledger.applied:
            known = ", ".join(self._ledger.applied) or "none"
            raise ConfigError(
                f"the model {name!r} takes no part in rollouts; those that do: {known}",
                kind="no_rollouts",
                remedy="models that take event-time windows take no part yet: set their version in the configuration",
            )

    def add(self, emitter: ModelEmitter, decoded: DecodedModel) -> None:
        """Add a version. Raises ConfigError if it cannot take part in rollouts."""
        self.require(decoded.ref.name)
        if emitter.of_windows or decoded.signature.window is not None:
            raise ConfigError(
                f"{decoded.ref} takes event-time windows, which rollouts do not support yet",
                kind="no_rollouts",
                remedy="use a version that takes single events, or set the version in the configuration",
            )
        self._decoder.add(decoded)
        self._emitters.add(emitter)

    def remove(self, ref: ModelRef) -> None:
        """Remove a version that gets no events and for which nothing is in flight."""
        self._decoder.remove(ref)
        self._emitters.remove(ref)

    def switch(self, served: ServedRevision) -> None:
        """Route the events of a model by this revision from the next poll on."""
        self._ledger.apply(served.model, served.number)
        self._router.switch(served)

    def route(
        self, chunks: Sequence[Chunk], records: Mapping[TopicPartition, Sequence[Record]], *, now_ms: int
    ) -> Sequence[Chunk]:
        """Return the chunks of a poll for all versions (see `RolloutRouter.route`). records: the records of the poll."""
        for partition, own in records.items():
            if own:
                first = own[0]
                first_offset = first.first_offset if isinstance(first, Unreadable) else first.offset
                self._ledger.on_polled(TopicPartition(*partition), first_offset, own[-1].offset + 1, now_ms=now_ms)
        return self._router.route(chunks)

    def metadata(self, metadata: Mapping[TopicPartition, str]) -> dict[TopicPartition, str]:
        """Return the metadata of the last committed positions. metadata: that of the windows."""
        return {partition: self._recorder.metadata(partition, windows) for partition, windows in metadata.items()}
