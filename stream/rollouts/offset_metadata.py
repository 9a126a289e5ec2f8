"""The revisions in the metadata of a committed offset, before that of the windows, if there is any.

    forebay-rollouts1 fraud=12,churn=3 | <windows>

The revisions are those by which the events before the offset were routed, of all models with a revision after the
configuration. Without such a model the metadata is that of the windows alone. Names of models contain none of the separators.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from forebay.schemas.errors import BrokerError, ConfigError, ForebayError
from forebay.stream.core.records import Committed, TopicPartition

FORMAT: Final = "forebay-rollouts1"
MAX_METADATA_BYTES: Final = 4096
"""What Kafka stores with an offset (`offset.metadata.max.bytes`)."""
MAX_WINDOW_BYTES: Final = 3600
"""What windows may need of it."""
_SEPARATOR: Final = " | "
_LATER_FORMAT: Final = re.compile(r"forebay-rollouts\d+( |$)")
_MAX_DIGITS: Final = 10


def combine(revisions: Mapping[str, int], windows: str) -> str:
    """Return the metadata of an offset. revisions: by model; 0 stands for the configuration. windows: their metadata.

    Raises ForebayError if it is too long, which `require_room` prevents.
    """
    named = ",".join(f"{model}={number}" for model, number in sorted(revisions.items()) if number)
    if not named:
        return windows
    text = f"{FORMAT} {named}" + (_SEPARATOR + windows if windows else "")
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ForebayError(
            f"the metadata of an offset would have {len(text.encode())} bytes; Kafka stores at most {MAX_METADATA_BYTES}",
            kind="offset_metadata_too_large",
            remedy="this is a bug; nothing of this commit was sent",
        )
    return text


def separate(partition: TopicPartition, committed: Committed) -> tuple[dict[str, int], Committed]:
    """Return the revisions at a committed offset by model, and the offset with the metadata of the windows.

    Raises BrokerError for metadata of a later version.
    """
    head, _, rest = committed.metadata.partition(" ")
    if head != FORMAT:
        if _LATER_FORMAT.match(committed.metadata):
            raise _unknown_error(partition, committed.metadata)
        return {}, committed
    named, _, windows = rest.partition(_SEPARATOR)
    revisions: dict[str, int] = {}
    for entry in named.split(","):
        model, _, number = entry.partition("=")
        if not model or model in revisions or not (number.isascii() and number.isdigit() and int(number)):
            raise _unknown_error(partition, committed.metadata)
        revisions[model] = int(number)
    return revisions, committed._replace(metadata=windows)


def required_revisions(committed: Mapping[TopicPartition, Committed | None]) -> dict[str, int]:
    """Return the revision of each model that must be applied before these partitions are read."""
    required: dict[str, int] = {}
    for partition, offset in committed.items():
        if offset is not None:
            for model, number in separate(partition, offset)[0].items():
                required[model] = max(number, required.get(model, 0))
    return required


def require_room(models: Iterable[str], window_models: Collection[str]) -> None:
    """Raise ConfigError if the revisions of that many models would not fit into the metadata of an offset."""
    names = list(models)
    length = len(FORMAT) + sum(len(name) + _MAX_DIGITS + 2 for name in names) + len(_SEPARATOR)
    if length + (MAX_WINDOW_BYTES if window_models else 0) > MAX_METADATA_BYTES:
        raise ConfigError(
            f"the revisions of {len(names)} models do not fit into the metadata of one committed offset"
            + (", beside the windows of other models" if window_models else ""),
            kind="too_many_rollout_models",
            remedy="serve fewer models in one worker, give the models shorter names, or set rollouts.enabled = false",
        )


def _unknown_error(partition: TopicPartition, metadata: str) -> BrokerError:
    return BrokerError(
        f"{partition.topic}-{partition.partition}: the metadata of the committed offset is {metadata[:60]!r}; "
        f"this version reads {FORMAT}",
        kind="rollout_state_unknown",
        remedy="a later version of Forebay wrote it: upgrade this one, or use another group_id",
    )
