from __future__ import annotations

import pytest

from forebay.models.distributed.ranks import Ranks
from forebay.schemas.errors import ConfigError

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "host-a", "MASTER_PORT": "29500"}


def test_the_environment_of_torchrun_is_read() -> None:
    assert Ranks.read(TORCHRUN) == Ranks(rank=3, world_size=4, local_rank=1, master=("host-a", 29500))
    assert Ranks.read({"PATH": "/bin"}) is None


def test_the_launchers_own_variables_are_read() -> None:
    own = {
        "FOREBAY_PARAMETER_SERVER": "127.0.0.1:4000",
        "FOREBAY_PARAMETER_SERVER_TOKEN": "secret",
        "FOREBAY_ATTEMPT": "2",
        "FOREBAY_LISTENER": "7",
    }
    ranks = Ranks.read(TORCHRUN | own)
    assert ranks is not None
    assert (ranks.server, ranks.token, ranks.attempt, ranks.listener) == (("127.0.0.1", 4000), "secret", 2, 7)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"RANK": "4"}, "RANK is '4'; allowed is a whole number from 0 to 3"),
        ({"RANK": ""}, "RANK is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is '0'"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK is '-1'"),
        ({"FOREBAY_PARAMETER_SERVER": "host"}, "FOREBAY_PARAMETER_SERVER is 'host'; allowed is HOST:PORT"),
    ],
)
def test_every_wrong_variable_is_named(change: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Ranks.read(TORCHRUN | change)
    assert any(problem in line for line in raised.value.problems)
    assert "--nproc" in str(raised.value.remedy)
