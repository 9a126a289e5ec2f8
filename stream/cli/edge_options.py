"""Options of `forebay edge`: the device, and limits on size, memory and latency."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import click

from forebay.schemas.errors import ModelError, StorageError

if TYPE_CHECKING:
    from forebay.models.edge.limits import Limits

P = ParamSpec("P")
R = TypeVar("R")

_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class NumBytes(click.ParamType):
    """A size such as 256KB (of 1,000 bytes), 96MiB (of 1,048,576) or a number of bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B|B?)\s*", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write it like 256KB, 96MiB or a number of bytes", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].upper() if match[2].upper() != "B" else ""])


def limit_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add --max-size, --max-memory and --max-latency-ms. The command receives them for `limits_of`."""
    size = click.option(
        "--max-size", type=NumBytes(), metavar="SIZE", help="Limit of the ONNX file, such as 256KB or 1MiB."
    )
    memory = click.option(
        "--max-memory", type=NumBytes(), metavar="SIZE", help="Limit of the resident memory of the process."
    )
    latency = click.option(
        "--max-latency-ms",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MS",
        help="Limit of the 99th percentile of one prediction.",
    )
    return size(memory(latency(function)))


def device_option(function: Callable[P, R]) -> Callable[P, R]:
    """Add --device. The command receives it as `device`."""
    return click.option(
        "--device",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A device described in TOML. [default: this machine]",
    )(function)


def require_onnx() -> None:
    """Raise ModelError unless the package is installed that reads and writes ONNX files."""
    if importlib.util.find_spec("onnx") is None:
        raise ModelError("the package onnx is missing", kind="edge", remedy="install forebay[registration]")


def write_text(path: Path, text: str) -> None:
    """Write a file. Raises StorageError."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}",
            remedy="check the path, its permissions and the free space",
        ) from None


def limits_of(max_size: int | None, max_memory: int | None, max_latency_ms: float | None) -> Limits:
    """Return the limits of the options."""
    from forebay.models.edge.limits import Limits

    return Limits(model_bytes=max_size, memory_bytes=max_memory, p99_ms=max_latency_ms)
