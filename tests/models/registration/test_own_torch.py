"""Candidates from torch modules of the user's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forebay.models.artefacts.signature import Feature
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_torch import read_module, read_module_file
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature
from tests.models.own_code import publish_own
from tests.models.own_torch import NET, import_net, publish_module, trained, write_net

HINTS = Hints("own", signature=make_signature())
WIDTH_5 = replace(HINTS, arguments={"width": 5})


@pytest.fixture
def net(tmp_path: Path) -> nn.Module:
    return trained(import_net(write_net(tmp_path)).Net(5))


def test_a_module_brings_its_file_and_its_state(net: nn.Module) -> None:
    candidate = read_module(net, WIDTH_5)
    assert candidate.files["module.py"] == NET.encode()
    assert (candidate.backend, candidate.outputs) == ("torch-module", "logits")
    assert candidate.params == {"class": "Net", "arguments": {"width": 5}}


def test_the_trained_module_is_not_changed(net: nn.Module, tmp_path: Path) -> None:
    net.head.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    publish_module(tmp_path / "models", net, width=5)
    assert net.training and not net.head.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_signature_is_completed_by_the_number_of_outputs(net: nn.Module) -> None:
    features = (Feature("a"), Feature("b"), Feature("c"))
    arguments = {"width": 5}
    hints = Hints("own", features=features, task="multiclass", labels=("no", "yes"), arguments=arguments)
    signature = read_module(net, hints).signature
    assert (signature.features, signature.output_dim, signature.labels) == (features, 2, ("no", "yes"))


def test_other_arguments_than_those_of_the_training_are_refused(net: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"head.weight is torch.float32 \[2, 5\] instead of torch.float32 \[2, 6\]"):
        read_module(net, replace(HINTS, arguments={"width": 6}))
    with pytest.raises(ModelError, match="building Net raised TypeError"):
        read_module(net, HINTS)
    with pytest.raises(ModelError, match="arguments of the constructor are not JSON values"):
        read_module(net, replace(HINTS, arguments={"width": object()}))


def test_a_module_that_was_changed_after_its_constructor_is_refused(net: Any, tmp_path: Path) -> None:
    net.head.forward = lambda x: x[:, :2] * 7
    with pytest.raises(ModelError, match="converted to torch-module"):
        publish_module(tmp_path / "models", net, width=5)
    assert not (tmp_path / "models").exists()


def test_a_class_of_a_notebook_or_a_function_or_a_package_is_refused(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"__name__": "notebook"}
    exec(compile("from torch import nn\nclass Net(nn.Module): pass", "<ipython-input-3>", "exec"), scope)
    with pytest.raises(ModelError) as raised:
        read_module(scope["Net"](), HINTS)
    assert "the class Net is not defined in a file" in raised.value.message
    assert raised.value.remedy is not None and "%%writefile net.py" in raised.value.remedy

    class Inner(nn.Module):
        pass

    with pytest.raises(ModelError, match="defined within a function"):
        read_module(Inner(), HINTS)
    with pytest.raises(ModelError, match=r"Sequential belongs to an installed package"):
        read_module(nn.Sequential(nn.Linear(3, 2)), HINTS)


def test_a_class_that_needs_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layers.py").touch()
    file = write_net(tmp_path, "def f():\n    import layers\n" + NET)
    with pytest.raises(ModelError, match=r"net.py, line 2: imports layers, a file of your own"):
        read_module(import_net(file).Net(5), WIDTH_5)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": 3}, r"the state a is not a dense tensor with values \(int\)"),
        ({"a": torch.eye(3).to_sparse()}, "the state a is not a dense tensor"),
        ({"a": torch.empty(2, device="meta")}, "the state a is not a dense tensor"),
        ({"a": torch.tensor([float("inf")])}, "the weights a are not all finite"),
        ({"a": nn.parameter.UninitializedParameter()}, "the state a is not a dense tensor"),
    ],
)
def test_a_state_that_cannot_be_stored_is_refused(tmp_path: Path, state: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_module_file(write_net(tmp_path), WIDTH_5, class_name="Net", state=state)


def test_a_file_with_a_state_is_the_same_model_as_the_instance(net: nn.Module, tmp_path: Path) -> None:
    candidate = read_module_file(tmp_path / "net.py", WIDTH_5, class_name="Net", state=net.state_dict())
    assert candidate.files == read_module(net, WIDTH_5).files
    publish_own(candidate, tmp_path / "models")


SCRIPT = """
from torch import nn

from forebay import Feature, Signature, register


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)


def main():
    signature = Signature((Feature("a"), Feature("b")), shape=(2,), task="binary", output_dim=1)
    try:
        print(register(Net(), name="own", signature=signature).folder)
    except Exception as error:
        print(error)

"""


@pytest.mark.parametrize(
    ("end", "printed"),
    [('if __name__ == "__main__":\n    main()\n', "models/own/1"), ("main()\n", "the script runs code there")],
)
def test_a_script_registers_its_own_class_if_it_can_be_loaded_without_running(
    tmp_path: Path, end: str, printed: str
) -> None:
    (tmp_path / "train.py").write_text(SCRIPT + end)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert printed in done.stdout, done.stderr
