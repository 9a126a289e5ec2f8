"""The strategies all_reduce and ring, on torch.distributed: gloo for tensors in memory, NCCL for those on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore, rendezvous  # type: ignore[attr-defined]

from forebay.models.distributed.errors import rank_lost
from forebay.models.distributed.ranks import Ranks


def join_process_group(ranks: Ranks, timeout_s: float) -> None:
    """Connect this process with the other ranks. Raises RankLost if they do not come in time."""
    timeout = timedelta(seconds=timeout_s)
    host, port = ranks.master
    with _losing("the ranks did not meet", timeout_s):
        if ranks.listener >= 0:
            store: Store = TCPStore(
                host, port, ranks.world_size, is_master=True, timeout=timeout, master_listen_fd=ranks.listener
            )
        else:  # torchrun or another launcher, whose own process may be the store
            store, _, _ = next(rendezvous("env://", ranks.rank, ranks.world_size, timeout=timeout))
            store.set_timeout(timeout)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore(f"attempt-{ranks.attempt}", store),
            rank=ranks.rank,
            world_size=ranks.world_size,
            timeout=timeout,
        )


class AllReduce:
    """The strategy all_reduce: torch's own collective operation."""

    def __init__(self, ranks: Ranks, timeout_s: float) -> None:
        self.rank = ranks.rank
        self.members = tuple(range(ranks.world_size))
        self.sent_bytes = 0
        self._timeout_s = timeout_s

    def reduce(self, buffer: Tensor) -> None:
        """Replace the buffer by its sum over all ranks."""
        with _losing("the gradients were not exchanged", self._timeout_s):
            dist.all_reduce(buffer)
        count = len(self.members)
        self.sent_bytes += 2 * (count - 1) * buffer.nbytes // count

    def gather(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads of all ranks."""
        payloads = [torch.empty_like(payload) for _ in self.members]
        with _losing("the gradients were not exchanged", self._timeout_s):
            dist.all_gather(payloads, payload)
        self.sent_bytes += (len(self.members) - 1) * payload.nbytes
        return payloads

    def collect(self, payload: Tensor) -> list[Tensor]:
        """Return the payloads of all ranks on rank 0."""
        payloads = [torch.empty_like(payload) for _ in self.members] if self.rank == 0 else []
        with _losing("rank 0 did not get the states of all ranks", self._timeout_s):
            dist.gather(payload, payloads or None)
        self.sent_bytes += payload.nbytes if self.rank else 0
        return payloads

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


class Ring(AllReduce):
    """The strategy ring: each rank sends to the next and receives from the one before.

    The buffer is cut into one chunk for each rank. In N-1 steps the chunks are added up around the ring, after which each rank
    has the sum of one chunk; in N-1 more steps the sums go around. Each rank sends 2(N-1)/N of the buffer, whatever N is.
    """

    def reduce(self, buffer: Tensor) -> None:
        """Replace the buffer by its sum over all ranks."""
        count = len(self.members)
        chunks = buffer.view(-1).tensor_split(count)
        for step in range(count - 1):  # reduce-scatter
            incoming = chunks[(self.rank - step - 1) % count]
            received = torch.empty_like(incoming)
            self._shift(chunks[(self.rank - step) % count], received)
            incoming += received
        for step in range(count - 1):  # all-gather
            self._shift(chunks[(self.rank - step + 1) % count], chunks[(self.rank - step) % count])

    def _shift(self, outgoing: Tensor, incoming: Tensor) -> None:
        """Send a chunk to the next rank while receiving one from the rank before."""
        count = len(self.members)
        following, preceding = (self.rank + 1) % count, (self.rank - 1) % count
        operations = []
        if outgoing.numel():
            operations.append(dist.P2POp(dist.isend, outgoing, following))
        if incoming.numel():
            operations.append(dist.P2POp(dist.irecv, incoming, preceding))
        if not operations:
            return
        with _losing(f"the ring is broken between the ranks {preceding}, {self.rank} and {following}", self._timeout_s):
            for work in dist.batch_isend_irecv(operations):
                work.wait()
        self.sent_bytes += outgoing.nbytes


@contextmanager
def _losing(problem: str, timeout_s: float) -> Iterator[None]:
    """Report errors of torch.distributed as RankLost."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # DistError and its kinds are RuntimeErrors
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = first_line.partition(". This is typically caused by")[0]  # advice that does not fit here
        raise rank_lost(f"{problem} within {timeout_s:g} s, or the connection ended: {reason}") from error
