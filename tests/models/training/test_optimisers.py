from __future__ import annotations

import pytest
import torch

from forebay.models.training.optimisers import OptimizerOptions
from forebay.schemas.errors import ModelError


def test_the_cosine_schedule_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    options = OptimizerOptions("sgd", 0.3, schedule="cosine")
    for step in range(40):
        assert options.rate(step, 40) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_warm_up_grows_to_the_full_rate() -> None:
    options = OptimizerOptions("adamw", 1.0, warmup_steps=4)
    assert [options.rate(step, 100) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_options_reach_torch() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    sgd = OptimizerOptions("sgd", 0.1, momentum=0.9, weight_decay=0.01).build(parameters)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.1, 0.9, 0.01)
    assert isinstance(OptimizerOptions("adamw").build(parameters), torch.optim.AdamW)
    assert type(OptimizerOptions("adam").build(parameters)) is torch.optim.Adam


def test_wrong_options_are_refused_together() -> None:
    with pytest.raises(ModelError) as caught:
        OptimizerOptions("adam", learning_rate=0.0, momentum=0.5)
    assert "learning_rate is 0.0" in caught.value.message
    assert "only sgd takes it" in caught.value.message
