"""Exports of nets to ONNX without building torch's table of translations each time, which takes two thirds of an export."""

from __future__ import annotations

import functools
import sys
from copy import copy
from typing import Any


def remember_translations() -> None:
    """Let the exports of this process share one table, if torch is imported."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    export = torch.onnx.export

    @functools.wraps(export)
    def with_remembered(*args: Any, **options: Any) -> Any:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        registry: Any = ONNXRegistry
        if not hasattr(registry, "build_from_torchlib"):
            registry.build_from_torchlib = functools.cache(registry.from_torchlib)
            registry.from_torchlib = staticmethod(_copy_of_table)
        return export(*args, **options)

    torch.onnx.export = with_remembered


def _copy_of_table(**options: Any) -> Any:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    registry: Any = ONNXRegistry
    table = copy(registry.build_from_torchlib(**options))
    table.functions = {target: list(found) for target, found in table.functions.items()}
    return table
