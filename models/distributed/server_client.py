"""The strategy parameter_server, on a rank: what it sends to the server and gets back."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import torch
from torch import Tensor

from forebay.models.distributed.errors import rank_lost
from forebay.models.distributed.frames import (
    ELEMENTS,
    MAX_PAYLOAD_BYTES,
    MEMBER,
    FrameError,
    Greeting,
    Header,
    Kind,
    receive,
    receive_header,
    receive_into,
)
from forebay.models.distributed.ranks import Ranks
from forebay.schemas.errors import ConfigError

# The server notices a late rank first and names it; the rank's own time-out is for a server that does not answer.
_MARGIN_S: Final = 5.0


class ParameterServerClient:
    """The connection of one rank with the parameter server.

    Raises ConfigError without an address or with a wrong token, RankLost if the server cannot be reached.
    """

    def __init__(self, ranks: Ranks, timeout_s: float) -> None:
        if ranks.server is None or not ranks.token:
            raise ConfigError(
                "strategy is parameter_server, but the environment names no server",
                remedy="start the ranks with `forebay train --nproc N`, or start the server yourself and set "
                "FOREBAY_PARAMETER_SERVER=HOST:PORT and FOREBAY_PARAMETER_SERVER_TOKEN for the server and all ranks",
            )
        self.rank = ranks.rank
        self.members = tuple(range(ranks.world_size))
        self.sent_bytes = 0
        self._address = f"{ranks.server[0]}:{ranks.server[1]}"
        self._sequence = 0
        try:
            self._connection = socket.create_connection(ranks.server, timeout=timeout_s + _MARGIN_S)
        except OSError as error:
            raise rank_lost(f"the parameter server {self._address} cannot be reached: {error}") from error
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting = Greeting(ranks.token, ranks.world_size, ranks.attempt).pack()
        self._call(Kind.HELLO, 0, memoryview(greeting))

    def reduce(self, buffer: Tensor) -> None:
        """Replace the buffer by its sum over all ranks."""
        name = str(buffer.dtype).removeprefix("torch.")
        if name not in ELEMENTS:
            raise ConfigError(
                f"strategy is parameter_server, which cannot add up {name}",
                remedy=f"train in one of {', '.join(ELEMENTS[1:])}, or choose the strategy all_reduce",
            )
        local = buffer.detach().cpu().contiguous()
        view = _bytes_of(local)
        header = self._call(Kind.REDUCE, ELEMENTS.index(name), view)
        if header.num_bytes != len(view):
            raise rank_lost(f"the parameter server {self._address} returned {header.num_bytes} bytes, not {len(view)}")
        self._receive_into(view)
        if local.data_ptr() != buffer.data_ptr():
            buffer.copy_(local)

    def gather(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads of all ranks."""
        return self._gather(Kind.GATHER, payload)

    def collect(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads of all ranks on rank 0."""
        return self._gather(Kind.COLLECT, payload)

    def close(self) -> None:
        """Leave the ranks, in good order."""
        with contextlib.suppress(OSError):
            header = Header(Kind.BYE, element=0, number=self.rank, sequence=self._sequence, num_bytes=0)
            self._connection.sendall(header.pack())
        self._connection.close()

    def _gather(self, kind: Kind, payload: Tensor) -> list[Tensor]:
        local = payload.detach().cpu().contiguous()
        header = self._call(kind, 0, _bytes_of(local))
        if header.num_bytes == 0:
            return []
        received = torch.empty(header.num_bytes, dtype=torch.uint8)
        self._receive_into(_bytes_of(received))
        return [part.to(payload.device) for part in torch.split(received, payload.numel())]

    def _call(self, kind: Kind, element: int, payload: memoryview) -> Header:
        """Send a request and return the header of its result, whose members are read already."""
        self._sequence += 1
        request = Header(kind, element=element, number=self.rank, sequence=self._sequence, num_bytes=len(payload))
        try:
            self._connection.sendall(request.pack())
            self._connection.sendall(payload)
        except OSError as error:
            # The server may have said why before it ended the connection.
            problem = f"the connection to the parameter server {self._address} ended: {error}"
            with contextlib.suppress(OSError, EOFError, FrameError):
                problem = self._refusal(receive_header(self._connection, MAX_PAYLOAD_BYTES)) or problem
            raise rank_lost(problem) from error
        self.sent_bytes += len(payload)
        try:
            header = receive_header(self._connection, MAX_PAYLOAD_BYTES)
            refusal = self._refusal(header)
            if refusal is None:
                member_bytes = header.number * MEMBER.size
                names = receive(self._connection, member_bytes)
        except (OSError, EOFError, FrameError) as error:
            raise rank_lost(f"the parameter server {self._address} did not answer: {error}") from error
        if refusal is not None:
            raise rank_lost(refusal)
        if header.sequence != self._sequence:
            raise rank_lost(f"the parameter server answered request {header.sequence} instead of {self._sequence}")
        if kind is not Kind.HELLO:
            self.members = tuple(number for (number,) in MEMBER.iter_unpack(names))
        return Header(
            header.kind,
            element=header.element,
            number=header.number,
            sequence=header.sequence,
            num_bytes=header.num_bytes - member_bytes,
        )

    def _refusal(self, header: Header) -> str | None:
        if header.kind is Kind.RESULT:
            return None
        return "the parameter server reports: " + receive(self._connection, header.num_bytes).decode(errors="replace")

    def _receive_into(self, target: memoryview) -> None:
        try:
            receive_into(self._connection, target)
        except (OSError, EOFError) as error:
            raise rank_lost(f"the parameter server {self._address} did not answer: {error}") from error


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
