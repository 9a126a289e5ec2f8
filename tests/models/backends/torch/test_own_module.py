"""The backend `torch-module`: a class of the user's own, its source and its weights."""

from __future__ import annotations

import gc
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.own_code import MODULE_PREFIX
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch.own_module import OwnModuleRunner, build_module, read_params
from forebay.models.backends.torch.weights import dump_state, load_state
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ModelError
from tests.models.own_code import replace_source
from tests.models.own_torch import NET, import_net, publish_module, trained, write_net


@pytest.fixture
def net(tmp_path: Path) -> nn.Module:
    return trained(import_net(write_net(tmp_path)).Net(5, depth=2))


@pytest.fixture
def version(tmp_path: Path, net: nn.Module) -> Path:
    return publish_module(tmp_path / "models", net, width=5, depth=2)


def load(version: Path) -> ServedModel:
    repository = str(version.parents[1])
    return load_model(repository, "own", options=RunOptions(), trust=TrustPolicy(frozenset({repository})))


def refusal(version: Path) -> ModelError:
    with pytest.raises(ModelError) as raised:
        load(version)
    return raised.value


def edit(version: Path, **changes: Any) -> None:
    document = json.loads((version / "manifest.json").read_text())
    (version / "manifest.json").write_text(json.dumps(document | changes))


def replace_weights(version: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors in the weights and their entry in the manifest; None removes one."""
    tensors = safetensors.torch.load_file(version / "weights.safetensors") | {
        key.replace("__", "."): value for key, value in changes.items()
    }
    data = safetensors.torch.save({key: value for key, value in tensors.items() if value is not None})
    (version / "weights.safetensors").write_bytes(data)
    files = json.loads((version / "manifest.json").read_text())["files"]
    files["weights.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(version, files=files)


def test_a_module_gives_the_outputs_of_the_trained_one(version: Path, net: nn.Module) -> None:
    model = load(version)
    x = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.softmax(net.eval()(torch.from_numpy(x)).double(), dim=1).numpy()
    np.testing.assert_allclose(model.forward(x).values_BO, expected, rtol=1e-5)
    assert model.num_golden_rows == 32


def test_integer_and_boolean_buffers_are_restored(version: Path) -> None:
    tensors = safetensors.torch.load_file(version / "weights.safetensors")
    assert tensors["norm.num_batches_tracked"].item() == 3
    assert tensors["norm.num_batches_tracked"].dtype == torch.int64
    assert tensors["mask"].tolist() == [True, False, True]
    replace_weights(version, mask=torch.tensor([False, False, False]))
    assert refusal(version).kind == "golden"  # the buffer is used


def test_the_code_runs_under_a_private_name(version: Path) -> None:
    before, path = set(sys.modules), list(sys.path)
    served = load(version)
    added = [name for name in set(sys.modules) - before if not name.startswith("torch")]
    assert len(added) == 1 and added[0].startswith(MODULE_PREFIX)
    assert sys.path == path and "net" not in sys.modules and "module" not in sys.modules
    del served
    gc.collect()
    assert added[0] not in sys.modules


def test_building_leaves_torch_s_random_numbers_alone(version: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(version)
    assert torch.equal(torch.rand(3), expected)


def test_shared_weights_stay_shared() -> None:
    source = (
        b"from torch import nn\n"
        b"class Net(nn.Module):\n"
        b"    def __init__(self):\n"
        b"        super().__init__()\n"
        b"        self.a = nn.Linear(3, 3)\n"
        b"        self.b = self.a\n"
    )
    module: Any = build_module(source, "m.py", "Net", {})
    data = dump_state("m", {key: value + 1 for key, value in module.state_dict().items()}, 1 << 20)
    load_state(module, data, "w")
    assert module.a.weight is module.b.weight
    assert torch.equal(module.b.bias, safetensors.torch.load(data)["b.bias"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head__bias": None}, "head.bias is missing"),
        ({"extra": torch.ones(1)}, "extra is not expected"),
        ({"head__bias": torch.ones(3)}, "head.bias is torch.float32 [3] instead of torch.float32 [2]"),
        ({"head__bias": torch.ones(2).double()}, "head.bias is torch.float64 [2] instead of torch.float32 [2]"),
        ({"norm__num_batches_tracked": torch.tensor(3.0)}, "num_batches_tracked is torch.float32 [] instead of torch.int64"),
        ({"head__bias": torch.tensor([1.0, float("nan")])}, "head.bias are not all finite"),
        ({"norm__running_var": torch.full((3,), float("inf"))}, "norm.running_var are not all finite"),
    ],
)  # fmt: skip
def test_other_weights_are_refused(version: Path, changes: dict[str, torch.Tensor | None], message: str) -> None:
    replace_weights(version, **changes)
    error = refusal(version)
    assert error.kind == "weights" and message in error.message and "weights.safetensors" in error.message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (NET.replace("class Net", "class Other"), "must define the class Net, a torch.nn.Module, but it has no such name"),
        ("class Net:\n    pass\n", "something else of that name: <class 'forebay_model_"),
        ("Net = 3\n", "something else of that name: 3"),
        (NET.replace("super().__init__()", "super().__init__(); 1 / 0"), "line 8: building Net raised ZeroDivisionError"),
        (NET.replace("width, depth=1", "width"), "building Net raised TypeError"),
        (NET.replace("return self.head", "return self.tail"), "line 15: AttributeError: 'Net' object has no attribute 'tail'"),
        (NET.replace("return self.head", "raise KeyError(3)  # "), "line 15: KeyError: 3"),
        (NET.replace("return self.head(", "return list("), "returned list instead of a tensor"),
        (NET.replace("nn.Linear(width, 2)", "nn.LazyLinear(2)"), "the state head.weight of the module is not a dense tensor"),
        (NET.replace("return self.head(", "return torch.sum("), "returned [] instead of"),
    ],
)  # fmt: skip
def test_errors_of_the_code_name_the_file_and_the_line(version: Path, source: str, message: str) -> None:
    replace_source(version, source, "module.py")
    error = refusal(version)
    assert message in error.message, error.message
    assert any(
        place in error.message for place in ("/own/1/module.py", "/own/1/weights.safetensors", "model own version 1")
    )
    assert error.remedy


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "params.class is missing"),
        ({"class": 3, "arguments": {}}, "params.class is 3"),
        ({"class": "os.system", "arguments": {}}, "params.class is 'os.system'; allowed is the name of a class"),
        ({"class": "Net", "arguments": []}, "params.arguments is []; allowed is an object"),
        ({"class": "Net", "arguments": {"a b": 1}}, "a name in arguments is 'a b'"),
        (
            {"class": "Net", "arguments": {}, "argument": {}},
            "params.argument is not a known key; did you mean arguments?",
        ),
    ],
)
def test_other_parameters_are_refused_before_code_runs(version: Path, params: dict[str, Any], message: str) -> None:
    replace_source(version, "raise SystemExit", "module.py")
    edit(version, params=params)
    error = refusal(version)
    assert error.kind == "manifest" and message in error.message
    with pytest.raises(ModelError):
        read_params(params, "m")


def test_a_vector_is_one_output_and_the_module_may_change_its_rows() -> None:
    class Changing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)[:, 0]

    x = np.ones((4, 3), dtype=np.float32)
    assert OwnModuleRunner(Changing(), torch.device("cpu"), "m").run(x).tolist() == [[2]] * 4
    assert (x == 1).all()


def test_a_lack_of_memory_is_reported_as_such() -> None:
    class Greedy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError) as raised:
        OwnModuleRunner(Greedy(), torch.device("cpu"), "m").run(np.ones((4, 3), dtype=np.float32))
    assert raised.value.kind == "out_of_memory"


def test_without_trust_nothing_is_executed(version: Path, tmp_path: Path) -> None:
    replace_source(version, f"open({str(tmp_path / 'executed')!r}, 'w').close()\n{NET}", "module.py")
    with pytest.raises(ModelError) as raised:
        load_model(version.parents[1], "own", options=RunOptions())
    assert raised.value.kind == "untrusted" and not (tmp_path / "executed").exists()
    load(version)
    assert (tmp_path / "executed").exists()


def test_mutated_weights_are_refused_or_loaded_finite(net: Any) -> None:
    data = dump_state("m", net.state_dict(), 1 << 20)
    rng, kinds = random.Random(5), set()
    for _ in range(400):
        mutated = bytearray(data)
        for _ in range(rng.choice([1, 2, 3])):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            load_state(
                net, bytes(mutated[: rng.choice([len(mutated), len(mutated), rng.randrange(len(mutated))])]), "w"
            )
        except ModelError as error:
            kinds.add(error.kind)
        else:
            kinds.add("loaded")
            assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert kinds == {"weights", "loaded"}
