"""Write an example model into the given directory. It classifies three numbers as "no" or "yes" by their weighted sum."""

import sys
from datetime import UTC, datetime
from pathlib import Path


def write(repository: Path) -> None:
    import torch

    from forebay import Feature, Signature, build_net, save_artefact

    net = build_net("logistic_regression", {"input_dim": 3})
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(torch.tensor([[1.0, -0.5, 0.25]]) if name.endswith("weight") else torch.zeros(1))
    features = (Feature("a"), Feature("b"), Feature("c"))
    signature = Signature(features, shape=(3,), task="binary", output_dim=1, labels=("no", "yes"))
    print(save_artefact(repository, "example", net, signature=signature, created_at=datetime.now(UTC)))


# The volume outlives the container: after a restart, the model already exists.
if not Path(sys.argv[1], "example").exists():
    write(Path(sys.argv[1]))
