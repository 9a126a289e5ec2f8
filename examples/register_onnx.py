"""Put an ONNX file behind a topic.

    python examples/register_onnx.py models
    forebay run --set model.repository=models --set model.name=digits-onnx

Needs scikit-learn, for its data, and onnxscript, for torch's export: `pip install 'forebay[registration]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import forebay


def main(repository: Path) -> tuple[object, object]:
    x, y = load_digits(return_X_y=True, as_frame=True)
    rows, digits = torch.tensor(x.to_numpy("float32")), torch.tensor(y.to_numpy())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(dim=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.nll_loss(model(rows).log(), digits).backward()
        optimizer.step()
    file = repository.parent / "digits.onnx"
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model.eval(), (rows[:3],), file, dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False
    )
    done = forebay.register(file, name="digits-onnx", repository=repository, signature=x)
    print(f"published {done.folder}")
    return x[:20], model(rows[:20]).detach().numpy()  # what the worker predicts for these events


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/register_onnx.py REPOSITORY")
    main(Path(sys.argv[1]))
