"""Connect the ranks with the strategy of the options, or with the one that is measured to be the fastest."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

import torch

from forebay.models.distributed.compression.compression import Compression, HalfPrecision, NoCompression
from forebay.models.distributed.compression.power_sgd import PowerSGD
from forebay.models.distributed.compression.quantised import Quantised
from forebay.models.distributed.compression.sparse import Sparse
from forebay.models.distributed.options import DistributedOptions, Strategy
from forebay.models.distributed.process_group import AllReduce, Ring, join_process_group
from forebay.models.distributed.ranks import Ranks
from forebay.models.distributed.server_client import ParameterServerClient
from forebay.models.distributed.transport import Transport, gather_bytes

_ROUNDS: Final = 7
_MAX_MEASURED_BYTES: Final = 64 * 1024 * 1024
# all_reduce is torch's own and best known; another strategy must be clearly faster.
_MIN_GAIN: Final = 0.1
_SECONDS: Final = struct.Struct("<d")

_LOGGER: Final = logging.getLogger("forebay.train")


def connect(
    ranks: Ranks,
    options: DistributedOptions,
    *,
    gradient_bytes: int,
    decided: Strategy | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Strategy, Transport]:
    """Connect this process with the other ranks. Returns the strategy, which is never "auto", and the connection.

    gradient_bytes: the size of all gradients of the net.
    decided: what "auto" chose before, in the training that is resumed; only rank 0's counts.

    Raises RankLost if the ranks do not meet in time.
    """
    if options.strategy == "parameter_server":
        return "parameter_server", ParameterServerClient(ranks, options.timeout_s)
    join_process_group(ranks, options.timeout_s)
    all_reduce = AllReduce(ranks, options.timeout_s)
    if options.strategy == "all_reduce":
        return "all_reduce", all_reduce
    candidates: dict[Strategy, Transport] = {"all_reduce": all_reduce, "ring": Ring(ranks, options.timeout_s)}
    if options.strategy == "ring":
        return "ring", candidates["ring"]
    if ranks.server is not None:
        candidates["parameter_server"] = ParameterServerClient(ranks, options.timeout_s)
    names = gather_bytes(all_reduce, (decided or "").encode())
    chosen = next((name for name in candidates if name.encode() == names[0]), None)
    if chosen is not None:
        _LOGGER.info("strategy auto: %s, as before this training was interrupted", chosen)
    else:
        size = min(gradient_bytes, _MAX_MEASURED_BYTES)
        seconds = {name: _measure(one, all_reduce, size, clock) for name, one in candidates.items()}
        chosen = choose(seconds)
        if ranks.rank == 0:
            _LOGGER.info("%s", explain(chosen, seconds, size))
    return chosen, candidates[chosen]


def choose(seconds: Mapping[Strategy, float]) -> Strategy:
    """Return the strategy to use: all_reduce, unless another one takes at least a tenth less time."""
    fastest = min(seconds, key=lambda name: seconds[name])
    return fastest if seconds[fastest] < (1 - _MIN_GAIN) * seconds["all_reduce"] else "all_reduce"


def explain(chosen: Strategy, seconds: Mapping[Strategy, float], size: int) -> str:
    """Return the line that says why a strategy was chosen."""
    times = ", ".join(f"{name} {value * 1e3:.2f} ms" for name, value in seconds.items())
    return f"strategy auto: {chosen}; a gradient of {size / 1e6:.2f} MB takes {times}"


def _measure(transport: Transport, control: Transport, size: int, clock: Callable[[], float]) -> float:
    """Return the median time of the slowest rank for adding up a buffer, the same on each rank."""
    buffer = torch.zeros(max(1, size // 4))
    times = []
    for _ in range(_ROUNDS):
        start = clock()
        transport.reduce(buffer)
        times.append(clock() - start)
    own = _SECONDS.pack(median(times[1:]))  # the first one connects
    return max(float(_SECONDS.unpack(other)[0]) for other in gather_bytes(control, own))


def build_compression(options: DistributedOptions, seed: int) -> Compression:
    """Return the compression of the options. seed: the same on all ranks."""
    match options.compression:
        case "none":
            return NoCompression()
        case "fp16":
            return HalfPrecision()
        case "int8":
            return Quantised()
        case "top_k":
            return Sparse(options.density, is_quantised=False)
        case "top_k_int8":
            return Sparse(options.density, is_quantised=True)
        case "power_sgd":
            return PowerSGD(options.power_sgd_rank, seed)
