"""Put a torch module of your own behind a topic. Its class becomes part of the model, so workers must trust the repository.

    python examples/register_torch.py models
    forebay run --set model.repository=models --set model.name=diabetes-torch --set trust.repositories=models

Needs scikit-learn, for its data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import forebay


class Residual(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.rest = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.rest(x)


def main(repository: Path) -> tuple[object, object]:
    from sklearn.datasets import load_diabetes  # only for training: the worker imports what is at the top

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    rows, targets = torch.tensor(x.to_numpy("float32")), torch.tensor(y.to_numpy("float32"))[:, None]
    torch.manual_seed(0)
    model = Residual(width=10, hidden=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(rows), targets).backward()
        optimizer.step()
    done = forebay.register(
        model,
        name="diabetes-torch",
        repository=repository,
        signature=x,
        task="regression",
        arguments={"width": 10, "hidden": 8},  # of the constructor
    )
    print(f"published {done.folder}")
    return x[:20], model(rows[:20]).detach().numpy()  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_torch.py REPOSITORY")
    main(Path(sys.argv[1]))
