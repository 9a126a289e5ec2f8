"""The topic of drift, which a worker only needs if drift is enabled."""

from __future__ import annotations

import pytest

from forebay.stream.config.sections import Settings
from forebay.stream.kafka.cluster.acls import Acl, Role, required_acls
from forebay.stream.kafka.cluster.topic_plan import output_specs, plan_topics

ENABLED = Settings.model_validate({"drift": {"enabled": True}, "topics": {"prefix": "a."}})
DISABLED = Settings()


def test_it_is_planned_and_checked_only_if_enabled() -> None:
    (wanted,) = (topic for topic in plan_topics(ENABLED) if topic.spec.name == "drift")
    assert (wanted.name, wanted.num_partitions, wanted.configs["cleanup.policy"]) == ("a.drift", 1, "delete")
    assert "drift" not in {spec.name for spec in output_specs(DISABLED)}


@pytest.mark.parametrize("role", Role)
def test_only_a_worker_writes_it(role: Role) -> None:
    more = set(required_acls(role, ENABLED))
    assert (Acl("topic", "a.drift", "WRITE") in more) == (role is Role.WORKER)
    assert not any("drift" in acl.name for acl in required_acls(role, DISABLED))
