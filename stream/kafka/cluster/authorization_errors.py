"""Authorization errors of the cluster, as messages that name the missing permission. Pure."""

from __future__ import annotations

from typing import Final, Literal

from aiokafka import errors as kafka_errors

from forebay.schemas.errors import BrokerError

KIND: Final = "authorization"
REMEDY: Final = "`forebay acls` prints all that is needed; `forebay check` reports what else is missing"


def explain_authorization_error(
    error: BaseException, on_topics: Literal["READ", "WRITE"], topic: str = ""
) -> BrokerError | None:
    """Return an error that names the missing permission if `error` is an authorization error, else None.

    on_topics: the operation on topics that was attempted.
    topic: the topic, for errors that do not name it.
    """
    match error:
        case kafka_errors.TopicAuthorizationFailedError():
            what = f"{on_topics} on the topic {_resource_names(error)}"
        case kafka_errors.GroupAuthorizationFailedError():
            what = f"READ on the group {_resource_names(error)}"
        case kafka_errors.ClusterAuthorizationFailedError():
            # An idempotent producer gets its id if it may write to at least one topic.
            what = f"{on_topics} on the topic {topic or 'that it uses'}"
        case _:
            return None
    return BrokerError(f"not allowed: {what}", kind=KIND, remedy=REMEDY)


def _resource_names(error: BaseException) -> str:
    """Return the names in an error, whose arguments are names or sets of names."""
    names: set[str] = set()
    for argument in error.args:
        names.update([argument] if isinstance(argument, str) else map(str, argument))
    return ", ".join(sorted(names)) or "that it uses"
