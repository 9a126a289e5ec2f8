"""Which policy decided about a record is known until its outcome is committed, also after rewinds and further changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.policy_history import PolicyHistory
from forebay.stream.access.rules import Rules
from tests.access.issuer import verifier
from tests.core.build import P0, P1

POLICIES = [AccessPolicy(verifier(), Rules({}), revision=str(number)) for number in range(4)]


def test_a_partition_without_polls_has_the_current_policy() -> None:
    assert PolicyHistory(lambda: POLICIES[2]).policy_of(P1, 5) is POLICIES[2]


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "change", "rewind", "commit"]), st.integers(1, 5)), min_size=1, max_size=40
    )
)
def test_each_uncommitted_record_has_the_policy_that_last_decided_about_it(steps: list[tuple[str, int]]) -> None:
    number, end, committed = 0, 0, 0
    decided: dict[int, AccessPolicy] = {}
    history = PolicyHistory(lambda: POLICIES[number])
    for step, count in steps:
        if step == "read":
            history.on_decided(P0, end, POLICIES[number])
            decided |= dict.fromkeys(range(end, end + count), POLICIES[number])
            end += count
        elif step == "change":
            number = (number + 1) % len(POLICIES)
        elif step == "rewind":
            end = committed
            decided = {offset: policy for offset, policy in decided.items() if offset < end}
        else:
            committed = min(end, committed + count)
            history.on_committed(P0, committed)
        for offset in range(committed, end):
            assert history.policy_of(P0, offset) is decided[offset]
    history.on_decided(P0, end, POLICIES[number])  # after a rewind, spans of the past stay until the next poll
    history.on_committed(P0, end)
    assert len(history._spans.get(P0, [])) <= 1
