"""What a cluster that authorises has refused, as words that name what is missing. Pure."""

from __future__ import annotations

from typing import Final, Literal

from aiokafka import errors as kafka_errors

from forebay.schemas.errors import BrokerError

KIND: Final = "authorization"
REMEDY: Final = "`forebay acls` prints all that is needed; `forebay check` tells what else is missing"


def explain_authorization_error(
    error: BaseException, on_topics: Literal["READ", "WRITE"], topic: str = ""
) -> BrokerError | None:
    """What to tell where `error` is a refusal, else None.

    on_topics: what was being done with topics; topic: to which, where the error does not say so.
    """
    match error:
        case kafka_errors.TopicAuthorizationFailedError():
            what = f"{on_topics} on the topic {_named(error)}"
        case kafka_errors.GroupAuthorizationFailedError():
            what = f"READ on the group {_named(error)}"
        case kafka_errors.ClusterAuthorizationFailedError():
            # An idempotent producer is given its id where it may write to some topic.
            what = f"{on_topics} on the topic {topic or 'that it uses'}"
        case _:
            return None
    return BrokerError(f"not allowed: {what}", kind=KIND, remedy=REMEDY)


def _named(error: BaseException) -> str:
    """The client gives one name, or a set of them."""
    names: set[str] = set()
    for given in error.args:
        names.update([given] if isinstance(given, str) else map(str, given))
    return ", ".join(sorted(names)) or "that it uses"
