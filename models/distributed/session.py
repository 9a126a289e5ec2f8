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
        is_first = ranks is None or ranks.rank == 0
        world_size = 1 if ranks is None else ranks.world_size
        checkpoint = folder.latest(world_size) if folder is not None and is_first else None
        if ranks is None:
            strategy: Strategy = "all_reduce"
            transport: Transport = Alone()
        else:
            decided = None
            if checkpoint is not None:
                decided = cast(Strategy, from_bytes(checkpoint.shared, "checkpoint").values[_STRATEGY])
            strategy, transport = connect(ranks, options, gradient_bytes=gradient_bytes, decided=decided)
        exchange = RankExchange(transport, build_compression(options, seed), options.bucket_mb)
        session = cls(exchange, strategy, folder=folder, private=private)
        if folder is not None:
            session.resumed = session._resume(checkpoint)
        return session

    def save(self, step: int, state: State) -> None:
        """Save a checkpoint of all ranks, which all call this after the same step. Does nothing without a folder.

        Raises StorageError on rank 0 if it cannot be written, ModelError if the weights of the ranks differ.
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

    def _resume(self, checkpoint: Checkpoint | None) -> Resumed | None:
        transport = self.exchange.transport
        shared = gather_bytes(transport, checkpoint.shared if checkpoint else b"")[0]
        if not shared:
            return None
        own = b""
        for rank in transport.members:
            data = gather_bytes(transport, checkpoint.ranks[rank] if checkpoint else b"")[0]
            own = data if rank == transport.rank else own
        common, private = from_bytes(shared, "checkpoint"), from_bytes(own, "checkpoint")
        self.exchange.restore(private.part("compression."))
        step = common.values.get(_STEP)
        if not isinstance(step, int):
            raise ModelError("the checkpoint has no step", kind="checkpoint", remedy="remove the checkpoint")
        parts = (common.part("training."), private.part("training."))
        return Resumed(
            step,
            State(
                {**parts[0].tensors, **parts[1].tensors},
                {**parts[0].values, **parts[1].values},
            ),
        )


_EMPTY: Final = to_bytes(State())
