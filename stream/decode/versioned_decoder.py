"""A decoder for models with several loaded versions: which one is served changes while a worker runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition
from forebay.stream.decode.decoder import DEFAULT_MAX_KEY_BYTES, Decoder
from forebay.stream.decode.models import DecodedModel


class VersionedDecoder(Decoder):
    """Decodes for one version of each model, which `serve` replaces; `decode_for` decodes for another version.

    Other threads may call `decode` meanwhile: what they use is replaced as a whole.
    """

    def __init__(
        self,
        models: Sequence[DecodedModel],
        *,
        max_event_bytes: int,
        max_key_bytes: int = DEFAULT_MAX_KEY_BYTES,
    ) -> None:
        super().__init__(models, max_event_bytes=max_event_bytes, max_key_bytes=max_key_bytes)
        self._loaded = {model.ref: model for model in models}
        self._served = {model.ref.name: model for model in models}
        self._main: Decoder | None = None
        self._own: dict[ModelRef, Decoder] = {}

    def decode(self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        """Return the chunks for the served versions, as `Decoder.decode` does."""
        main = self._main
        return super().decode(poll, epoch) if main is None else main.decode(poll, epoch)

    def decode_for(
        self, ref: ModelRef, partition: TopicPartition, records: Sequence[Record], epoch: Epoch
    ) -> list[Chunk]:
        """Return the chunks of records of this model, decoded for this version instead of the served one."""
        decoder = self._own.get(ref)
        if decoder is None:
            decoder = self._own[ref] = self._decoder_with(self._loaded[ref])
        return decoder.decode({partition: records}, epoch)

    def has_loaded(self, ref: ModelRef) -> bool:
        """Return whether events can be decoded for this version."""
        return ref in self._loaded

    def served(self, name: str) -> ModelRef:
        """Return the version of a model that `decode` decodes for."""
        return self._served[name].ref

    def have_same_columns(self, first: ModelRef, second: ModelRef) -> bool:
        """Return whether every event gives the same row or the same rejection for both versions."""
        one, other = self._loaded[first].signature, self._loaded[second].signature
        return one.features == other.features and one.shape == other.shape

    def add(self, model: DecodedModel) -> None:
        """Add a version of a known model."""
        self._loaded[model.ref] = model

    def remove(self, ref: ModelRef) -> None:
        """Remove a version that is not served."""
        del self._loaded[ref]
        self._own.pop(ref, None)

    def serve(self, ref: ModelRef) -> None:
        """Decode for this version from now on."""
        if self._served[ref.name].ref == ref:
            return
        self._served[ref.name] = self._loaded[ref]
        self._main = self._decoder_with(self._loaded[ref])
        # They list the other models' formats; those that are needed are built again.
        self._own.clear()

    def _decoder_with(self, model: DecodedModel) -> Decoder:
        """Return a decoder for this version and the served versions of all other models."""
        models = [model if name == model.ref.name else served for name, served in self._served.items()]
        return Decoder(models, max_event_bytes=self._limits.max_event_bytes, max_key_bytes=self._limits.max_key_bytes)
