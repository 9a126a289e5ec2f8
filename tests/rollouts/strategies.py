"""Random sequences of changes."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import strategies as st

from forebay.schemas.errors import ConfigError
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.revision import Revision, StepPolicy
from tests.rollouts.build import configured, proposal

versions = st.integers(1, 5)
weights = st.integers(1, 10_000).map(lambda slots: slots / 100)


@st.composite
def step_policies(draw: st.DrawFn) -> StepPolicy | None:
    found = sorted(set(draw(st.lists(weights, max_size=4))))
    return StepPolicy(tuple(found), draw(st.floats(0, 1e6)), draw(st.integers(0, 10**6))) if found else None


@st.composite
def successors(draw: st.DrawFn, current: Revision) -> Revision:
    """Apply a random change; return the same revision if it is not possible."""
    made = proposal(author=draw(st.text(max_size=8)), automatic=draw(st.booleans()), reason=draw(st.text(max_size=20)))
    action = draw(st.sampled_from(["promote", "canary", "step", "shadow", "rollback", "pause", "resume", "abort"]))
    version = draw(versions)
    with suppress(ConfigError):
        match action:
            case "promote":
                return changes.promote(current, version, made)
            case "canary":
                return changes.start_canary(
                    current,
                    version,
                    draw(weights),
                    steps=draw(step_policies()),
                    seed=draw(st.integers(0, 2**53 - 1)),
                    route_by=draw(st.none() | st.just("customer")),
                    proposal=made,
                )
            case "step":
                return changes.step(current, made)
            case "shadow":
                return changes.start_shadow(current, version, draw(st.floats(0.01, 1)), made)
            case "rollback":
                return changes.rollback(current, draw(st.none() | st.just(version)), made)
            case "pause":
                return changes.pause(current, made)
            case "resume":
                return changes.resume(current, made)
            case "abort":
                return changes.abort(current, made, draw(st.none() | st.just(version)))
    return current


@st.composite
def revisions(draw: st.DrawFn) -> Revision:
    """Return a revision that a random sequence of changes led to."""
    current = changes.start_shadow(configured(), 2, 0.5, proposal())
    for _ in range(draw(st.integers(0, 8))):
        current = draw(successors(current))
    return current
