"""The parameter server over real sockets, with ranks as threads."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from forebay.models.distributed.errors import RankLost
from forebay.models.distributed.frames import HEADER, Greeting, Header, Kind, receive, receive_header
from forebay.models.distributed.parameter_server import ParameterServer
from forebay.models.distributed.ranks import Ranks
from forebay.models.distributed.rounds import LostRank, RoundFailed, Rounds
from forebay.models.distributed.server_client import ParameterServerClient
from forebay.models.distributed.transport import collect_bytes, gather_bytes
from forebay.schemas.errors import ConfigError

TOKEN = "a-secret"
WAIT_S = 30.0
Address = tuple[str, int]


@contextmanager
def server(
    world_size: int, *, lost_rank: LostRank = "stop", deadline_s: float = WAIT_S, max_bytes: int = 1 << 20
) -> Iterator[Address]:
    rounds = Rounds(world_size=world_size, deadline_s=deadline_s, lost_rank=lost_rank, clock=time.monotonic)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = ParameterServer(listener, rounds, token=TOKEN, idle_s=WAIT_S, max_bytes=max_bytes)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


def client(address: Address, rank: int, world_size: int, attempt: int = 0, token: str = TOKEN) -> ParameterServerClient:
    ranks = Ranks(rank, world_size, rank, ("unused", 1), server=address, token=token, attempt=attempt)
    return ParameterServerClient(ranks, WAIT_S)


def closed(connection: ParameterServerClient) -> None:
    """End a connection as the kernel does for a killed process."""
    connection._connection.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_sum_has_the_same_bits_as_the_sum_in_the_order_of_the_ranks(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(1001, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)]
    wide = [part.float() if dtype == torch.float16 else part for part in parts]
    expected = ((wide[0] + wide[1]) + wide[2]).to(dtype)
    with server(3) as address, ThreadPoolExecutor(3) as pool:

        def run(rank: int) -> torch.Tensor:
            connection = client(address, rank, 3)
            for _ in range(5):
                buffer = parts[rank].clone()
                connection.reduce(buffer)
            connection.close()
            return buffer

        for result in pool.map(run, range(3)):
            assert torch.equal(result, expected)


def test_bytes_are_gathered_from_all_ranks_and_collected_on_the_first() -> None:
    with server(2) as address, ThreadPoolExecutor(2) as pool:

        def run(rank: int) -> tuple[list[bytes], list[bytes]]:
            connection = client(address, rank, 2)
            data = b"x" * (rank * 3)
            return gather_bytes(connection, data), collect_bytes(connection, data)

        assert list(pool.map(run, range(2))) == [([b"", b"xxx"], [b"", b"xxx"]), ([b"", b"xxx"], [])]


def test_a_lost_rank_stops_the_others_by_name() -> None:
    with server(2) as address:
        first, second = client(address, 0, 2), client(address, 1, 2)
        closed(second)
        with pytest.raises(RankLost, match="rank 1 was lost: the connection ended"):
            first.reduce(torch.ones(4))


def test_the_server_survives_and_serves_the_next_attempt() -> None:
    with server(2) as address, ThreadPoolExecutor(2) as pool:
        first, second = client(address, 0, 2), client(address, 1, 2)
        closed(second)
        with pytest.raises(RankLost):
            first.reduce(torch.ones(4))

        def again(rank: int) -> list[float]:
            buffer = torch.ones(2) * (rank + 1)
            client(address, rank, 2, attempt=1).reduce(buffer)
            return buffer.tolist()

        assert list(pool.map(again, range(2))) == [[3.0, 3.0], [3.0, 3.0]]
        with pytest.raises(RankLost, match="attempt 1 has begun"):
            client(address, 1, 2, attempt=0)


def test_the_others_continue_without_a_lost_rank_if_asked_to() -> None:
    with server(3, lost_rank="continue") as address, ThreadPoolExecutor(2) as pool:
        first, second, third = (client(address, rank, 3) for rank in range(3))
        closed(second)

        def run(connection: ParameterServerClient) -> list[float]:
            buffer = torch.full((2,), float(connection.rank + 1))
            connection.reduce(buffer)
            return buffer.tolist()

        assert list(pool.map(run, (first, third))) == [[4.0, 4.0], [4.0, 4.0]]
        assert first.members == third.members == (0, 2)


def test_without_rank_0_the_others_stop() -> None:
    with server(2, lost_rank="continue") as address:
        first, second = client(address, 0, 2), client(address, 1, 2)
        closed(first)
        with pytest.raises(RankLost, match="rank 0 was lost"):
            second.reduce(torch.ones(4))


def test_a_rank_that_leaves_in_good_order_stops_nothing() -> None:
    with server(2) as address:
        first, second = client(address, 0, 2), client(address, 1, 2)
        second.close()
        buffer = torch.ones(2)
        first.reduce(buffer)
        assert buffer.tolist() == [1.0, 1.0]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def header(sequence: int, kind: Kind = Kind.REDUCE, num_bytes: int = 8) -> Header:
    return Header(kind, element=3, number=0, sequence=sequence, num_bytes=num_bytes)


def joined(world_size: int, lost_rank: LostRank, clock: Clock, deadline_s: float = 30.0) -> Rounds:
    rounds = Rounds(world_size=world_size, deadline_s=deadline_s, lost_rank=lost_rank, clock=clock)
    for rank in range(world_size):
        rounds.join(rank, world_size, 0)
    return rounds


def test_a_late_rank_is_named() -> None:
    rounds = joined(2, "stop", Clock(), deadline_s=0.0)
    with pytest.raises(RoundFailed, match="rank 1 has sent nothing for 0 s"):
        rounds.exchange(0, 0, header(1), bytearray(8))


def test_a_late_rank_is_left_behind_if_the_others_continue() -> None:
    rounds = joined(2, "continue", Clock(), deadline_s=0.0)
    assert rounds.exchange(0, 0, header(1), bytearray(8)).members == (0,)
    with pytest.raises(RoundFailed, match="rank 1 was late"):
        rounds.exchange(1, 0, header(1), bytearray(8))


def test_ranks_that_are_not_in_step_are_stopped() -> None:
    with server(2) as address, ThreadPoolExecutor(2) as pool:

        def run(rank: int) -> str:
            connection = client(address, rank, 2)
            with pytest.raises(RankLost) as raised:
                connection.reduce(torch.ones(4 + rank))
            return raised.value.message

        assert all("not in step" in message for message in pool.map(run, range(2)))


def test_a_wrong_token_is_refused() -> None:
    with server(2) as address, pytest.raises(RankLost, match="the token is wrong"):
        client(address, 0, 2, token="another")


def test_a_rank_of_another_size_or_that_is_present_is_refused() -> None:
    with server(2) as address:
        first = client(address, 0, 2)
        with pytest.raises(RankLost, match="rank 0 has joined before"):
            client(address, 0, 2)
        with pytest.raises(RankLost, match="does not belong to 2 ranks"):
            client(address, 2, 3)
        first.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n....",
        HEADER.pack(b"FBPS", 1, 99, 0, 0, 0, 0),
        HEADER.pack(b"FBPS", 1, Kind.HELLO, 200, 0, 0, 0),
        HEADER.pack(b"FBPS", 1, Kind.HELLO, 0, 0, 0, 1 << 60),
        HEADER.pack(b"FBPS", 1, Kind.REDUCE, 0, 0, 0, 0),
        HEADER.pack(b"FBPS", 1, Kind.HELLO, 0, 0, 0, 3) + b"[1]",
        HEADER.pack(b"FBPS", 1, Kind.HELLO, 0, 0, 0, 8) + b'{"a": 1}',
    ],
)
def test_other_bytes_are_refused_and_harm_nothing(data: bytes) -> None:
    with server(1) as address:
        with socket.create_connection(address, timeout=WAIT_S) as connection:
            connection.sendall(data)
            answer = receive_header(connection)
            assert answer.kind is Kind.ERROR
            assert receive(connection, answer.num_bytes)
        buffer = torch.ones(2)
        client(address, 0, 1).reduce(buffer)
        assert buffer.tolist() == [1.0, 1.0]


def test_a_payload_above_the_limit_is_refused() -> None:
    with server(1, max_bytes=100) as address, pytest.raises(RankLost):
        client(address, 0, 1).reduce(torch.ones(1000))


def test_a_server_that_is_not_running_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(RankLost, match=f"127.0.0.1:{address[1]} cannot be reached"):
        client(address, 0, 1)


def test_without_an_address_the_variables_are_named() -> None:
    with pytest.raises(ConfigError, match="names no server") as raised:
        ParameterServerClient(Ranks(0, 1, 0, ("unused", 1)), WAIT_S)
    assert "FOREBAY_PARAMETER_SERVER_TOKEN" in str(raised.value.remedy)


def test_an_element_type_that_numpy_lacks_is_refused() -> None:
    with server(1) as address, pytest.raises(ConfigError, match="cannot add up bfloat16"):
        client(address, 0, 1).reduce(torch.ones(2, dtype=torch.bfloat16))


def test_a_greeting_is_read_back() -> None:
    greeting = Greeting("secret", 3, 1)
    assert Greeting.unpack(greeting.pack()) == greeting
