"""One rank's part in a training: its exchange, and the checkpoints of all ranks."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Final, cast

from forebay.models.distributed.checkpoints import Checkpoint, CheckpointFolder
from forebay.models.distributed.connect import build_compression, connect
from forebay.models.distributed.exchange import RankExchange
from forebay.models.distributed.options import DistributedOptions, Strategy
from forebay.models.distributed.ranks import Ranks
from forebay.models.distributed.state import State, from_bytes, merge, to_bytes
from forebay.models.distributed.transport import Alone, Transport, collect_bytes, gather_bytes
from forebay.schemas.errors import ModelError

_DIGEST: Final = "digest"
_STRATEGY: Final = "strategy"
_STEP: Final = "step"

_LOGGER: Final = logging.getLogger("forebay.train")


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the last checkpoint has for this rank. step: how many steps were done."""

    step: int
    state: State


class Session:
    """Connects a rank, resumes it from the last checkpoint, and saves the next ones.

    folder: where rank 0 writes; None to keep no checkpoints. The other ranks need no access to it.
    private: names, or prefixes of names, of what differs among the ranks in the training's state, such as random states.
    """

    def __init__(
        self,
        exchange: RankExchange,
        strategy: Strategy,
        *,
        folder: CheckpointFolder | None,
        private: tuple[str, ...],
        resumed: Resumed | None = None,
    ) -> None:
        self.exchange = exchange
        self.strategy = strategy
        self.resumed = resumed
        self._folder = folder
        self._private = private
        self._start_size = exchange.world_size

    @classmethod
    def join(
        cls,
        ranks: Ranks | None,
        options: DistributedOptions,
        *,
        gradient_bytes: int,
        seed: int,
        folder: CheckpointFolder | None = None,
        private: tuple[str, ...] = (),
    ) -> Session:
        """Connect this process with the other ranks, and read the last checkpoint.

        ranks: None for a training in one process.

        Raises RankLost if the ranks do not meet in time, ModelError for a checkpoint of another training.
        """
        if ranks is None:
            strategy: Strategy = "all_reduce"
            transport: Transport = Alone()
        else:
            decided = None
            if options.strategy == "auto" and ranks.rank == 0 and folder is not None:
                decided = _decided(folder.latest(ranks.world_size))
            strategy, transport = connect(ranks, options, gradient_bytes=gradient_bytes, decided=decided)
        exchange = RankExchange(transport, build_compression(options, seed), options.bucket_mb)
        return cls.start(exchange, strategy, folder=folder, private=private)

    @classmethod
    def start(
        cls, exchange: RankExchange, strategy: Strategy, *, folder: CheckpointFolder | None, private: tuple[str, ...]
    ) -> Session:
        """Read the last checkpoint, if there is one, for ranks that are connected. Raises like `join`."""
        resumed = None
        if folder is not None:
            checkpoint = folder.latest(exchange.world_size) if exchange.rank == 0 else None
            resumed = _resumed(exchange, checkpoint)
        return cls(exchange, strategy, folder=folder, private=private, resumed=resumed)

    def save(self, step: int, state: State) -> None:
        """Save a checkpoint of all ranks, which all call this after the same step. Does nothing without a folder.

        Logs a warning if the weights of the ranks differ. Raises StorageError on rank 0 if it cannot be written.
        """
        if self._folder is None:
            return
        own = State(
            {name: tensor for name, tensor in state.tensors.items() if name.startswith(self._private)},
            {name: value for name, value in state.values.items() if name.startswith(self._private)},
        )
        shared = State(
            {name: tensor for name, tensor in state.tensors.items() if name not in own.tensors},
            {name: value for name, value in state.values.items() if name not in own.values},
        )
        data = to_bytes(shared)
        parts = {"training.": own, "compression.": self.exchange.state()}
        parts["check."] = State(values={_DIGEST: hashlib.sha256(data).hexdigest()})
        collected = collect_bytes(self.exchange.transport, to_bytes(merge(parts)))
        if not collected:
            return
        members = self.exchange.transport.members
        by_rank = dict(zip(members, collected, strict=True))
        self._check_equal(by_rank)
        # A rank that was lost, and whose loss did not end the training, resumes without a state of its own.
        ranks = [by_rank.get(rank, _EMPTY) for rank in range(self._start_size)]
        session = State(values={_STRATEGY: self.strategy, _STEP: step})
        self._folder.save(Checkpoint(step, to_bytes(merge({"": session, "training.": shared})), ranks))

    def close(self) -> None:
        """Leave the ranks."""
        self.exchange.transport.close()

    def _check_equal(self, by_rank: dict[int, bytes]) -> None:
        digests = {rank: from_bytes(data, f"rank {rank}").values[f"check.{_DIGEST}"] for rank, data in by_rank.items()}
        differing = [rank for rank, digest in digests.items() if digest != digests[0]]
        if differing:
            _LOGGER.warning(
                "the weights or the optimiser of rank %s differ from rank 0's: the ranks run on unequal hardware or "
                "libraries, or the net draws random numbers that are not saved",
                ", ".join(map(str, differing)),
            )


def _decided(checkpoint: Checkpoint | None) -> Strategy | None:
    """Return the strategy that was used before."""
    if checkpoint is None:
        return None
    return cast(Strategy, from_bytes(checkpoint.shared, "checkpoint").values[_STRATEGY])


def _resumed(exchange: RankExchange, checkpoint: Checkpoint | None) -> Resumed | None:
    """Return this rank's part of the checkpoint that rank 0 has read, and restore the compression."""
    transport = exchange.transport
    shared = gather_bytes(transport, checkpoint.shared if checkpoint else b"")[0]
    if not shared:
        return None
    own = b""
    for rank in transport.members:
        data = gather_bytes(transport, checkpoint.ranks[rank] if checkpoint else b"")[0]
        own = data if rank == transport.rank else own
    common, private = from_bytes(shared, "checkpoint"), from_bytes(own, "checkpoint")
    exchange.restore(private.part("compression."))
    step = common.values.get(_STEP)
    if not isinstance(step, int):
        raise ModelError("the checkpoint has no step", kind="checkpoint", remedy="remove the checkpoint")
    all_, mine = common.part("training."), private.part("training.")
    return Resumed(step, State({**all_.tensors, **mine.tensors}, {**all_.values, **mine.values}))


_EMPTY: Final = to_bytes(State())
