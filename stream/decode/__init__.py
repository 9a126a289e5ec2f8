"""Kafka records in, columns out: a whole poll at once, and one malformed event never costs the others."""

from forebay.stream.decode.decoder import Decoder

__all__ = ["Decoder"]
