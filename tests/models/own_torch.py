"""Write, train and publish small torch models with code of their own for tests."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forebay.models.registration.hints import Hints
from forebay.models.registration.own_torch import read_module
from tests.models.build import make_signature
from tests.models.own_code import publish_own

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, depth=1):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.layers = nn.Sequential(*(nn.Linear(3 if i == 0 else width, width) for i in range(depth)))
        self.head = nn.Linear(width, 2)
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x):
        return self.head(torch.relu(self.layers(self.norm(x * self.mask))))
"""


def write_net(folder: Path, source: str = NET, name: str = "net") -> Path:
    file = folder / f"{name}.py"
    file.write_text(source)
    return file


def import_net(file: Path) -> Any:
    """Return the module in a file, imported as a user's script does."""
    name = f"{file.stem}_of_a_test_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # `inspect` finds the file of a class through its module
    spec.loader.exec_module(module)
    return module


def trained(net: nn.Module) -> nn.Module:
    """Run the module in training mode, so that the buffers of its normalisation hold something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        for _ in range(3):
            net.train()(torch.randn(16, 3, generator=generator) * 2 + 1)
    return net


def publish_module(repository: Path, net: nn.Module, name: str = "own", **arguments: object) -> Path:
    return publish_own(read_module(net, Hints(name, signature=make_signature(), arguments=arguments)), repository, name)


def exported(net: nn.Module, *, dynamic: Any = None, x: torch.Tensor | None = None) -> bytes:
    """Return the bytes of an exported program. dynamic: the first dimension; None for any batch size."""
    shapes = ({0: torch.export.Dim("batch") if dynamic is None else dynamic},)
    rows = torch.ones(4, 3) if x is None else x
    program = torch.export.export(net.eval(), (rows,), dynamic_shapes=None if dynamic is False else shapes)
    data = io.BytesIO()
    torch.export.save(program, data)
    return data.getvalue()
