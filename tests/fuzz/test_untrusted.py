"""Mutated artefacts with code of their own are refused without trust, and none of their code is compiled or executed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from forebay.models.registration.hints import Hints
from forebay.models.registration.own_torch import read_program
from tests.fuzz.case import Watch, outcome
from tests.fuzz.mutation import mutate_version
from tests.models.build import make_signature
from tests.models.own_code import publish_function, publish_own
from tests.models.own_torch import exported, import_net, publish_module, trained, write_net

CASES = 150


def publish_program(repository: Path) -> None:
    file = repository.parent / "program.pt2"
    file.write_bytes(exported(torch.nn.Linear(3, 2)))
    publish_own(read_program(file, Hints("own", signature=make_signature())), repository)


def publish_net(repository: Path) -> None:
    publish_module(repository, trained(import_net(write_net(repository.parent)).Net(5)), width=5)


@pytest.mark.parametrize("publish", [publish_function, publish_net, publish_program])
def test_mutated_artefacts_are_refused_without_trust(publish: Callable[[Path], object], tmp_path: Path) -> None:
    publish(tmp_path / "seed")
    watch, kinds = Watch(), Counter[str]()
    for number in range(CASES):
        repository = tmp_path / "case"
        shutil.copytree(tmp_path / "seed", repository)
        mutate_version(repository / "own" / "1", number)
        kinds[outcome(repository / "own" / "1", watch, trusted=False)] += 1
        shutil.rmtree(repository)
    assert kinds["served"] == 0 and kinds["untrusted"] > 0.8 * CASES
