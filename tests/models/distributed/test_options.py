from __future__ import annotations

from typing import Any

import pytest

from forebay.models.distributed.options import COMPRESSIONS, DistributedOptions
from forebay.schemas.errors import ModelError


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"strategy": "gossip"}, "strategy is 'gossip'; allowed is all_reduce, ring, parameter_server, auto"),
        ({"compression": "zip"}, f"compression is 'zip'; allowed is {', '.join(COMPRESSIONS)}"),
        ({"density": 0.0}, "density is 0.0; allowed is above 0 and up to 1"),
        ({"power_sgd_rank": 0}, "power_sgd_rank is 0"),
        ({"checkpoint_interval": 1.5}, "checkpoint_interval is 1.5"),
        ({"keep_checkpoints": True}, "keep_checkpoints is True"),
        ({"timeout_s": 0}, "timeout_s is 0; allowed is from 1 to 3600"),
        ({"bucket_mb": float("nan")}, "bucket_mb is nan"),
        ({"lost_rank": "ignore"}, "lost_rank is 'ignore'"),
        ({"lost_rank": "continue"}, "needs the strategy 'parameter_server'"),
    ],
)
def test_wrong_options_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelError, match="distributed: ") as raised:
        DistributedOptions(**change)
    assert problem in raised.value.message


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(ModelError, match=r"density.*bucket_mb"):
        DistributedOptions(density=2, bucket_mb=0)
