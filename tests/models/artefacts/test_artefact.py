from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from forebay.models.artefacts.backend_files import BackendFiles
from forebay.models.artefacts.files import FileEntry
from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.torch.architectures import CNN
from forebay.schemas.errors import ModelError, StorageError
from tests.models.build import CREATED_AT, load_artefact, make_net, make_signature, make_standardise, publish


def edit(version: Path, change: Callable[[Any], object]) -> None:
    file = version / "manifest.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def replace_file(version: Path, data: bytes, name: str = "weights.safetensors") -> None:
    """Write another file and correct the manifest's digest for it."""
    (version / name).write_bytes(data)
    stated = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    edit(version, lambda document: document["files"].update({name: stated}))


def fault(repository: Path, name: str = "delays", version: int | None = None, **more: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_artefact(repository, name, version, **more)
    assert caught.value.remedy
    return caught.value


def test_a_published_model_is_loaded_unchanged(tmp_path: Path) -> None:
    net = make_net()
    version = publish(tmp_path, net=net)
    assert version == tmp_path / "delays" / "1"
    files = ["README.md", "bom.cdx.json", "golden.safetensors", "weights.safetensors"]
    assert sorted(os.listdir(version)) == sorted(["manifest.json", *files])
    artefact = load_artefact(tmp_path, "delays")
    manifest = artefact.manifest
    assert artefact.directory == version
    assert (manifest.name, manifest.version, manifest.architecture) == ("delays", 1, "mlp")
    assert manifest.params == net.params
    assert manifest.signature == make_signature(labels=("no", "yes"))
    assert manifest.preprocessing == make_standardise()
    assert manifest.provenance == Provenance(
        CREATED_AT, {"accuracy": 0.1 + 0.2, "loss": 1e-300}, "trained by a test – with a dash"
    )
    assert (manifest.format, manifest.backend) == (2, "torch")
    assert manifest.files == {name: FileEntry.of((version / name).read_bytes()) for name in files}
    assert not artefact.net.training
    for key, value in net.state_dict().items():
        loaded = artefact.net.state_dict()[key]
        assert torch.equal(loaded, value)
        assert not loaded.requires_grad
    assert not any(parameter.is_meta for parameter in artefact.net.parameters())


def test_an_image_model_without_preprocessing(tmp_path: Path) -> None:
    signature = Signature((), (1, 8, 8), "multiclass", 3)
    publish(tmp_path, net=CNN(1, 8, 3), signature=signature, preprocessing=None)
    artefact = load_artefact(tmp_path, "delays", 1)
    assert artefact.manifest.preprocessing == Preprocessing.identity()
    assert artefact.net(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_a_repository_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the model"):
        publish(tmp_path / "file")
    assert fault(tmp_path / "file").kind == "repository_not_found"


def test_a_missing_repository_model_or_version(tmp_path: Path) -> None:
    error = fault(tmp_path / "nowhere")
    assert (error.kind, error.message) == (
        "repository_not_found",
        f"{tmp_path / 'nowhere'}: there is no such model repository",
    )
    (tmp_path / "r").mkdir()
    error = fault(tmp_path / "r")
    assert (error.kind, error.remedy) == ("model_not_found", "publish a model there first")
    publish(tmp_path / "r", "delays")
    publish(tmp_path / "r", "prices")
    error = fault(tmp_path / "r", "delay")
    assert error.message == f"{tmp_path / 'r'}: there is no model 'delay'"
    assert error.remedy == "did you mean 'delays'? Otherwise choose one of delays, prices"
    assert fault(tmp_path / "r", "zzz").remedy == "choose one of delays, prices"
    publish(tmp_path / "r", "delays")
    error = fault(tmp_path / "r", "delays", 3)
    assert (error.kind, error.message) == (
        "version_not_found",
        f"{tmp_path / 'r' / 'delays'}: there is no version 3",
    )
    assert error.remedy == "choose one of 2, 1"
    (tmp_path / "r" / "empty").mkdir()
    assert fault(tmp_path / "r", "empty").kind == "version_not_found"


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    version = publish(tmp_path)
    (version / file).unlink()
    error = fault(tmp_path)
    assert error.kind == "unreadable"
    assert error.message == f"{version / file}: cannot be read: No such file or directory"


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors"])
def test_a_pipe_or_a_directory_in_place_of_a_file_does_not_block(tmp_path: Path, file: str) -> None:
    version = publish(tmp_path)
    (version / file).unlink()
    os.mkfifo(version / file)
    assert "not a regular file" in fault(tmp_path).message
    (version / file).unlink()
    (version / file).mkdir()
    error = fault(tmp_path)
    assert error.kind == "unreadable"
    assert str(version / file) in error.message


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b'{"format": NaN}', b"[" * 100_000, b'{"a": 1, "a": 2}', b"1" * 10_000],
)
def test_a_manifest_that_is_not_json(tmp_path: Path, data: bytes) -> None:
    version = publish(tmp_path)
    (version / "manifest.json").write_bytes(data)
    error = fault(tmp_path)
    assert error.kind == "manifest"
    assert error.message.startswith(f"{version / 'manifest.json'}: this is not a JSON document: ")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda d: d.update(format=3), "format", "the format is 3; this version of Forebay reads formats 1 and 2"),
        (lambda d: d.pop("format"), "manifest", "format is missing"),
        (lambda d: d.update(format="1"), "manifest", "format is '1'; allowed is a whole number from 1 upwards"),
        (lambda d: d.pop("signature"), "manifest", "signature is missing"),
        (lambda d: d.update(signature=[]), "manifest", "signature is []; allowed is an object"),
        (lambda d: d["signature"].pop("task"), "manifest", "signature.task is missing"),
        (lambda d: d["preprocessing"]["steps"][0].update(width=9), "signature", "the preprocessing takes 9 columns"),
        (lambda d: d.update(metric={}), "manifest", "metric is not a known key; did you mean metrics?"),
        (lambda d: d["metrics"].update(loss="low"), "manifest", "metrics.loss is 'low'"),
        (lambda d: d.update(created_at="now"), "manifest", "created_at is 'now'; allowed is a time such as"),
        (lambda d: d.update(architecture="mpl"), "architecture", "there is no architecture 'mpl'; did you mean mlp?"),
        (lambda d: d["params"].update(hidden_dims=0), "params", "mlp: hidden_dims is 0; allowed is a list"),
        (lambda d: d["params"].update(input_dim=4), "signature", "the preprocessing gives 3 columns, but mlp takes 4"),
        (lambda d: d.update(version=2), "manifest", "this is the manifest of delays version 2"),
        (lambda d: d.update(name="other"), "manifest", "this is the manifest of other version 1"),
        (lambda d: d.update(backend="jax"), "backend", "the backend is 'jax'; this version of Forebay has torch"),
        (lambda d: d.update(parent=1), "manifest", "parent is 1; allowed is a version before this one, which is 1"),
        (lambda d: d.update(parent=0), "manifest", "parent is 0; allowed is a whole number from 1 upwards"),
        (lambda d: d.update(licence=None), "manifest", "licence is None; allowed is a string"),
        (lambda d: d.update(reference_statistics=[]), "manifest", "reference_statistics is []; allowed is an object"),
        (lambda d: d.update(reference_statistics={}), "manifest", "reference_statistics.version is missing"),
        (lambda d: d["tolerance"].update(relative=1), "manifest", "the tolerance's relative is 1.0; allowed is from 0"),
        (
            lambda d: d["tolerance"].update(absolute=-1),
            "manifest",
            "the tolerance's absolute is -1.0; allowed is a fin",
        ),
        (lambda d: d["tolerance"].pop("absolute"), "manifest", "tolerance.absolute is missing"),
        (lambda d: d.update(tolerance=None), "manifest", "tolerance is None; allowed is an object"),
        (lambda d: d["files"].pop("golden.safetensors"), "manifest", "files does not list golden.safetensors"),
        (lambda d: d["files"].pop("weights.safetensors"), "manifest", "files does not list weights.safetensors"),
        (
            lambda d: d["files"]["weights.safetensors"].update(sha256="00"),
            "manifest",
            "files.weights.safetensors.sha256 is '00'; allowed is 64 hexadecimal digits in lower case",
        ),
        (
            lambda d: d["files"]["weights.safetensors"].update(bytes=-1),
            "manifest",
            "files.weights.safetensors.bytes is -1; allowed is a whole number from 0",
        ),
        (lambda d: d["files"]["weights.safetensors"].update(bytes=1), "digest", None),
        (lambda d: d["files"]["golden.safetensors"].update(sha256="0" * 64), "digest", None),
        (lambda d: d.update(weights={}), "manifest", "weights is not a known key"),
    ],
)
def test_a_fault_in_the_manifest_names_the_file_and_the_key(
    tmp_path: Path, change: Any, kind: str, says: str | None
) -> None:
    version = publish(tmp_path)
    edit(version, change)
    error = fault(tmp_path)
    assert error.kind == kind
    if says is not None:
        assert error.message.startswith(f"{version / 'manifest.json'}: {says}")


def test_any_changed_byte_of_the_weights_is_noticed(tmp_path: Path) -> None:
    version = publish(tmp_path)
    file = version / "weights.safetensors"
    data = bytearray(file.read_bytes())
    for index in (0, len(data) // 2, len(data) - 1):
        data[index] ^= 1
        file.write_bytes(data)
        error = fault(tmp_path)
        assert error.kind == "digest"
        assert error.message.startswith(f"{file}: the file has sha256 ")
        data[index] ^= 1


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}x"])
def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    version = publish(tmp_path)
    replace_file(version, data)
    error = fault(tmp_path)
    assert error.kind == "weights"
    assert error.message.startswith(f"{version / 'weights.safetensors'}: ")


def test_all_weights_of_another_architecture_are_named(tmp_path: Path) -> None:
    version = publish(tmp_path)
    tensors = dict(make_net().state_dict())
    del tensors["head.bias"]
    tensors["extra"] = torch.zeros(1)
    tensors["head.weight"] = torch.zeros(2, 9)
    tensors["hidden.0.bias"] = torch.zeros(4, dtype=torch.float64)
    replace_file(version, safetensors.torch.save(tensors))
    error = fault(tmp_path)
    assert error.kind == "weights"
    for problem in (
        "weights.safetensors: the weights are not those of the mlp in manifest.json",
        "head.bias is missing",
        "extra is not expected",
        "head.weight is torch.float32 [2, 9] instead of torch.float32 [2, 4]",
        "hidden.0.bias is torch.float64 [4] instead of torch.float32 [4]",
    ):
        assert problem in error.message


def test_absurd_parameters_allocate_no_memory(tmp_path: Path) -> None:
    version = publish(tmp_path)
    edit(version, lambda document: document["params"].update(hidden_dims=[1_000_000] * 64))
    assert fault(tmp_path).kind == "weights"


def test_sizes_of_files_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = publish(tmp_path)
    size = (version / "weights.safetensors").stat().st_size

    def limit(max_bytes: int) -> None:
        limited = {"torch": BackendFiles({"weights.safetensors": max_bytes})}
        monkeypatch.setattr("forebay.models.artefacts.artefact.BACKENDS", limited)

    limit(size)
    load_artefact(tmp_path, "delays")
    limit(size - 1)
    error = fault(tmp_path)
    assert error.kind == "too_large"
    assert error.message == (
        f"{version / 'weights.safetensors'}: the file has {size} bytes; allowed are at most {size - 1}"
    )
    with open(version / "manifest.json", "r+b") as file:
        file.truncate(1 << 40)
    error = fault(tmp_path)
    assert error.kind == "too_large"
    assert str(version / "manifest.json") in error.message


@pytest.mark.parametrize("part", ["model", "version", "manifest.json", "weights.safetensors"])
def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path, part: str) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    publish(inside)
    place = {"model": inside / "delays", "version": inside / "delays" / "1"}.get(part, inside / "delays" / "1" / part)
    place.rename(outside)
    place.symlink_to(outside)
    error = fault(inside)
    assert error.kind == "path"
    folder = "version's folder" if part == "weights.safetensors" else "repository"
    assert f"leads out of the {folder}, to {outside}" in error.message


@pytest.mark.parametrize("part", ["model", "version", "manifest.json", "weights.safetensors"])
def test_a_link_to_itself_is_refused(tmp_path: Path, part: str) -> None:
    version = publish(tmp_path)
    place = {"model": version.parent, "version": version}.get(part, version / part)
    place.rename(tmp_path / "aside")
    place.symlink_to(place.name)
    assert str(tmp_path) in fault(tmp_path).message


def test_links_within_the_repository_are_followed(tmp_path: Path) -> None:
    # As in a volume that Kubernetes mounts: every file is a link into a hidden directory next to it.
    version = publish(tmp_path)
    hidden = version / "..data"
    hidden.mkdir()
    for file in ("manifest.json", "golden.safetensors", "weights.safetensors"):
        (version / file).rename(hidden / file)
        (version / file).symlink_to(Path("..data") / file)
    assert load_artefact(tmp_path, "delays").manifest.version == 1


def test_the_repository_itself_may_be_a_link_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    load_artefact(tmp_path / "link", "delays")
    monkeypatch.chdir(tmp_path)
    assert load_artefact("real", "delays").directory == Path("real/delays/1")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path: Path, value: float) -> None:
    version = publish(tmp_path)
    tensors = safetensors.torch.load((version / "weights.safetensors").read_bytes())
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    replace_file(version, safetensors.torch.save(tensors))
    assert f"the weights {name} are not all finite" in fault(tmp_path).message
