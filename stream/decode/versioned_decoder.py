"""A decoder for models with several loaded versions: which one is served changes while a worker runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from forebay.models.artefacts.signature import Signature
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Chunk, Epoch, Record, TopicPartition
from forebay.stream.decode.decoder import DEFAULT_MAX_KEY_BYTES, Decoder
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.decode.event_formats import EventFormats
from forebay.stream.decode.models import DecodedModel


class _Current(NamedTuple):
    """What decodes for the served versions.

    decoder: None for the decoder itself, with the versions that it began with.
    labels: the served versions by other versions, with the same columns, for which the decoder was built.
    """

    decoder: Decoder | None
    labels: Mapping[ModelRef, ModelRef]


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
        formats: EventFormats | None = None,
        encrypted: EncryptedInput | None = None,
    ) -> None:
        super().__init__(
            models,
            max_event_bytes=max_event_bytes,
            max_key_bytes=max_key_bytes,
            formats=formats,
            encrypted=encrypted,
        )
        self._loaded = {model.ref: model for model in models}
        self._served = {model.ref.name: model.ref for model in models}
        # The versions for which the current decoder was built.
        self._built_for = {model.ref.name: model for model in models}
        self._current = _Current(None, {})
        self._own: dict[ModelRef, Decoder] = {}

    def decode(self, poll: Mapping[TopicPartition, Sequence[Record]], epoch: Epoch) -> list[Chunk]:
        """Return the chunks for the served versions, as `Decoder.decode` does."""
        decoder, labels = self._current
        chunks = super().decode(poll, epoch) if decoder is None else decoder.decode(poll, epoch)
        if labels:
            return [replace(chunk, model=labels.get(chunk.model, chunk.model)) for chunk in chunks]
        return chunks

    def decode_for(
        self, ref: ModelRef, partition: TopicPartition, records: Sequence[Record], epoch: Epoch
    ) -> list[Chunk]:
        """Return the chunks of records of this model, decoded for this version instead of the served one."""
        decoder = self._own.get(ref)
        if decoder is None:
            decoder = self._own[ref] = self._build(self._loaded[ref])
        return decoder.decode({partition: records}, epoch)

    def served(self, name: str) -> ModelRef:
        """Return the version of a model that `decode` decodes for."""
        return self._served[name]

    def have_same_columns(self, first: ModelRef, second: ModelRef) -> bool:
        """Return whether every event gives the same row or the same rejection for both versions."""
        return _have_same_columns(self._loaded[first].signature, self._loaded[second].signature)

    def add(self, model: DecodedModel) -> None:
        """Add a version of a known model."""
        self._loaded[model.ref] = model

    def remove(self, ref: ModelRef) -> None:
        """Remove a version that is not served."""
        del self._loaded[ref]
        self._own.pop(ref, None)

    def serve(self, ref: ModelRef) -> None:
        """Decode for this version from now on. A new decoder is built only if the columns change, which takes a while."""
        model = self._loaded[ref]
        decoder = self._current.decoder
        if not _have_same_columns(self._built_for[ref.name].signature, model.signature):
            decoder = self._build(model)
            self._built_for[ref.name] = model
        self._served[ref.name] = ref
        labels = {
            built_for.ref: self._served[name]
            for name, built_for in self._built_for.items()
            if built_for.ref != self._served[name]
        }
        self._current = _Current(decoder, labels)

    def _build(self, model: DecodedModel) -> Decoder:
        """Return a decoder for this version and, of the other models, what the current decoder was built for."""
        models = [model if name == model.ref.name else other for name, other in self._built_for.items()]
        return Decoder(
            models,
            max_event_bytes=self._limits.max_event_bytes,
            max_key_bytes=self._limits.max_key_bytes,
            formats=self.formats,
            encrypted=self.encrypted,
        )


def _have_same_columns(first: Signature, second: Signature) -> bool:
    return first.features == second.features and first.shape == second.shape
