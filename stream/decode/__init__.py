"""Decoding of Kafka records into columns, one poll at a time. A malformed event does not affect others."""

from forebay.stream.decode.decoder import Decoder
from forebay.stream.decode.models import DecodedModel

__all__ = ["DecodedModel", "Decoder"]
