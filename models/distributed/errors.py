"""Errors of a training with several ranks."""

from __future__ import annotations

from typing import Final

from forebay.schemas.errors import ModelError

# The exit status of a rank that ended only because it lost another one or the server: EX_TEMPFAIL of sysexits.h.
LOST_STATUS: Final = 75


class RankLost(ModelError):
    """Another rank, or the parameter server, ended or did not answer in time."""

    default_kind = "rank_lost"


def rank_lost(problem: str) -> RankLost:
    """Return the error for a connection that ended or timed out."""
    return RankLost(
        problem, remedy="look at the messages of the other ranks; --max-restarts N resumes from the last checkpoint"
    )
