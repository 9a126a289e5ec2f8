"""The parameter server: a process that adds up what the ranks send and returns the sum to each. It needs no torch.

    python -m forebay.models.distributed.parameter_server --ranks 2 --listen 127.0.0.1:0

It prints its port. The ranks connect to it over TCP and must know the secret in FOREBAY_PARAMETER_SERVER_TOKEN. The server
holds no weights and no optimiser: those are on the ranks, so that all strategies give the same result. A rank that is killed
ends its connection; the server keeps running, and after a restart the ranks of the next attempt connect to the same one.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from forebay.models.distributed.frames import (
    MAX_PAYLOAD_BYTES,
    MAX_SMALL_BYTES,
    MEMBER,
    FrameError,
    Greeting,
    Header,
    Kind,
    receive,
    receive_header,
)
from forebay.models.distributed.ranks import TOKEN_VARIABLE
from forebay.models.distributed.rounds import LOST_RANK, RoundFailed, Rounds

_LOGGER: Final = logging.getLogger("forebay.train.server")


class ParameterServer:
    """Accepts the ranks' connections, each served by a thread.

    token: the secret that every rank must know.
    idle_s: a rank that sends nothing for that long between two rounds is lost.
    """

    def __init__(
        self,
        listener: socket.socket,
        rounds: Rounds,
        *,
        token: str,
        idle_s: float,
        max_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self._listener = listener
        self._rounds = rounds
        self._token = token
        self._idle_s = idle_s
        self._max_bytes = max_bytes

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _serve(self, connection: socket.socket, address: tuple[str, int]) -> None:
        with connection:
            connection.settimeout(self._idle_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                rank, attempt = self._welcome(connection)
            except (FrameError, EOFError, OSError, RoundFailed) as error:
                _LOGGER.warning("%s:%s was refused: %s", *address[:2], error)
                _refuse(connection, str(error))
                return
            reason = "its connection ended"
            try:
                self._serve_rank(connection, rank, attempt)
                return
            except RoundFailed as error:
                _refuse(connection, str(error))
                reason = f"it was sent away: {error}"
            except TimeoutError:
                reason = f"it has sent nothing for {self._idle_s:g} s"
            except (FrameError, EOFError, OSError) as error:
                reason = str(error)
            self._rounds.lose(rank, attempt, reason)

    def _welcome(self, connection: socket.socket) -> tuple[int, int]:
        header = receive_header(connection, MAX_SMALL_BYTES)
        if header.kind is not Kind.HELLO:
            raise FrameError("the first frame is not a greeting")
        greeting = Greeting.unpack(bytes(receive(connection, header.num_bytes)))
        if not hmac.compare_digest(greeting.token.encode(), self._token.encode()):
            raise FrameError("the token is wrong")
        self._rounds.join(header.number, greeting.world_size, greeting.attempt)
        _send_result(connection, header, (), b"")
        return header.number, greeting.attempt

    def _serve_rank(self, connection: socket.socket, rank: int, attempt: int) -> None:
        while True:
            header = receive_header(connection, self._max_bytes)
            if header.kind is Kind.BYE:
                self._rounds.leave(rank, attempt)
                return
            if header.kind not in (Kind.REDUCE, Kind.GATHER, Kind.COLLECT) or header.number != rank:
                raise FrameError(f"a frame of kind {header.kind.name} of rank {header.number} is not expected")
            data = receive(connection, header.num_bytes)
            result = self._rounds.exchange(rank, attempt, header, data)
            is_wanted = header.kind is not Kind.COLLECT or rank == 0
            _send_result(connection, header, result.members, result.payload if is_wanted else b"")


def _send_result(
    connection: socket.socket, request: Header, members: Sequence[int], payload: bytes | bytearray
) -> None:
    header = Header(
        Kind.RESULT,
        element=request.element,
        number=len(members),
        sequence=request.sequence,
        num_bytes=len(members) * MEMBER.size + len(payload),
    )
    connection.sendall(header.pack() + b"".join(map(MEMBER.pack, members)))
    connection.sendall(payload)


def _refuse(connection: socket.socket, reason: str) -> None:
    data = reason.encode()[:MAX_SMALL_BYTES]
    with contextlib.suppress(OSError):
        connection.sendall(Header(Kind.ERROR, element=0, number=0, sequence=0, num_bytes=len(data)).pack() + data)


def exit_at_end_of(stream_descriptor: int, end: Callable[[], None]) -> None:
    """Call `end` when an inherited pipe ends, which is when the process that started this one is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(stream_descriptor, 4_096):
                pass
        end()

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until its standard input ends or it is terminated."""
    parser = argparse.ArgumentParser(prog="python -m forebay.models.distributed.parameter_server")
    parser.add_argument("--ranks", type=int, required=True, help="number of ranks")
    parser.add_argument("--listen", default="127.0.0.1:0", help="address; port 0 takes any free one")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds that a round waits for its last rank")
    parser.add_argument("--lost-rank", choices=LOST_RANK, default="stop", help="what to do when a rank is lost")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="parameter server: %(message)s")
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        parser.error(f"{TOKEN_VARIABLE} is not set; set it to the same secret here and for the ranks")
    host, _, port = options.listen.rpartition(":")
    listener = socket.create_server((host, int(port)))
    rounds = Rounds(
        world_size=options.ranks,
        deadline_s=options.timeout,
        lost_rank=options.lost_rank,
        clock=time.monotonic,
    )
    print(listener.getsockname()[1], flush=True)
    exit_at_end_of(sys.stdin.fileno(), lambda: os._exit(0))
    # Between two rounds a rank computes, and may write a checkpoint.
    ParameterServer(listener, rounds, token=token, idle_s=4 * options.timeout).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
