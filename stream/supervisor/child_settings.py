"""The settings of the children: those of the supervisor, with names and an address of their own. Pure."""

from __future__ import annotations

import os
import socket
import uuid

from forebay.stream.config.sections import Settings

PROCESSES_PATH = "/processes/"
"""Below it, the admin API of the supervisor has that of each child."""


def name_instance(settings: Settings) -> str:
    """Return the instance id of the whole; those of the children are made of it."""
    return settings.delivery.instance_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def settings_of_child(settings: Settings, number: int, *, instance: str, url: str | None) -> Settings:
    """Return the settings of a child.

    instance: the instance id of the whole. That of the child, `<instance>-<number>`, is the same after a restart, so that its
        transaction fences the one that a killed predecessor left open. It is also its id as a static member, so that the
        partitions wait for a restarted child instead of moving.
    url: the address of the supervisor's admin API; None if it has none.
    """
    own = f"{instance}-{number}"
    member = settings.kafka.group_instance_id
    admin = {
        "enabled": True,
        "host": "localhost",
        "token": None,
        "tls_cert_file": None,
        "tls_key_file": None,
        "advertised_url": None if url is None else f"{url}{PROCESSES_PATH}{number}",
    }
    return settings.model_copy(
        update={
            "delivery": settings.delivery.model_copy(update={"instance_id": own}),
            "kafka": settings.kafka.model_copy(
                update={"group_instance_id": own if member is None else f"{member}-{number}"}
            ),
            "admin": settings.admin.model_copy(update=admin),
        }
    )
