from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from forebay.models.artefacts.repository import list_models, list_versions
from forebay.models.artefacts.signature import Signature
from forebay.schemas.errors import ModelError, StorageError
from tests.models.build import load_artefact, make_net, make_signature, publish


def test_versions_count_up_and_the_highest_is_loaded(tmp_path: Path) -> None:
    for _ in range(11):
        publish(tmp_path)
    publish(tmp_path, "other")
    assert list_versions(tmp_path, "delays") == list(range(1, 12))
    assert list_models(tmp_path) == ["delays", "other"]
    assert load_artefact(tmp_path, "delays").manifest.version == 11
    assert load_artefact(tmp_path, "delays", 2).manifest.version == 2


def test_the_highest_number_is_followed_even_after_gaps_and_strays(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "delays" / "7").write_text("a stray file")
    for stray in ("007", "9x", ".10", "-3", "٣"):
        (tmp_path / "delays" / stray).mkdir()
    assert publish(tmp_path).name == "8"
    assert list_versions(tmp_path, "delays") == [1, 8]


def test_several_threads_that_publish_at_once_get_different_versions(tmp_path: Path) -> None:
    barrier, paths = threading.Barrier(8), []

    def publish_one(seed: int) -> None:
        net = make_net(seed=seed)
        barrier.wait()
        paths.append((publish(tmp_path, net=net), net))

    threads = [threading.Thread(target=publish_one, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.name) for path, _ in paths) == list(range(1, 9))
    for path, net in paths:
        loaded = load_artefact(tmp_path, "delays", int(path.name)).net.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())
    assert os.listdir(tmp_path) == ["delays"]


def _publish_some(repository: Path, seed: int) -> None:
    for _ in range(5):
        publish(repository, net=make_net(seed=seed))


@pytest.mark.long
def test_several_processes_that_publish_at_once_get_different_versions(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_publish_some, args=(tmp_path, seed)) for seed in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert list_versions(tmp_path, "delays") == list(range(1, 11))
    for version in range(1, 11):
        load_artefact(tmp_path, "delays", version)


def test_a_version_number_taken_by_another_publisher_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename
    rivals: list[Path] = []

    def late(source: Any, target: Any) -> None:
        if not rivals:
            rivals.append(Path(target))
            Path(target).mkdir()
            (Path(target) / "manifest.json").write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert publish(tmp_path).name == "2"
    assert (rivals[0] / "manifest.json").read_text() == "theirs"
    assert load_artefact(tmp_path, "delays").manifest.version == 2


def test_a_reader_never_sees_an_incomplete_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(list_versions(tmp_path, "delays"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    publish(tmp_path)
    # The five files and their directory are synced before the version appears; its parent directories afterwards.
    assert seen == [[], [], [], [], [], [], [1], [1]]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot write the model: No space left on device") as caught:
        publish(tmp_path)
    assert caught.value.remedy
    assert list_versions(tmp_path, "delays") == [1]
    assert os.listdir(tmp_path) == ["delays"]


def test_other_users_may_read_published_files(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        version = publish(tmp_path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(version.stat().st_mode) == 0o755
    assert stat.S_IMODE((version / "manifest.json").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../a", "/a", "a\\b", "a b", "a\n", "é", "x" * 129, "a\0b"]
)
def test_names_that_could_leave_the_repository_are_refused(tmp_path: Path, name: str) -> None:
    for attempt in (lambda: publish(tmp_path / "r", name), lambda: load_artefact(tmp_path / "r", name)):
        with pytest.raises(ModelError) as caught:
            attempt()
        assert caught.value.kind == "name"
        assert "not starting with a dot" in str(caught.value.remedy)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"signature": make_signature(4)}, "signature", "model 'delays': the preprocessing takes 3 columns, not 4"),
        ({"signature": make_signature(4), "preprocessing": None}, "signature", "gives 4 columns, but mlp takes 3"),
        ({"net": make_net(3, 5)}, "signature", "the signature states 2 outputs; mlp gives 5"),
        ({"signature": Signature((), (1, 1, 3), "multiclass", 2)}, "signature", "rows have the shape [1, 1, 3]"),
        ({"metrics": {"loss": float("nan")}}, "manifest", "metric loss is nan"),
        ({"note": "\ud800"}, "manifest", "cannot be written as JSON"),
        ({"created_at": datetime(2026, 1, 1)}, "manifest", "no time zone"),
        ({"net": make_net().double()}, "weights", "the weights hidden.0.weight are not all finite float32"),
    ],
)
def test_parts_that_do_not_fit_together_are_not_published(
    tmp_path: Path, options: dict[str, Any], kind: str, says: str
) -> None:
    with pytest.raises(ModelError) as caught:
        publish(tmp_path, **options)
    assert caught.value.kind == kind
    assert says in caught.value.message
    assert not (tmp_path / "delays" / "1").exists()
    assert not list(tmp_path.glob(".publish-*"))


def test_weights_that_diverged_are_not_published(tmp_path: Path) -> None:
    net = make_net()
    with torch.no_grad():
        net.state_dict()["head.bias"][0] = float("inf")
    with pytest.raises(ModelError, match=r"head\.bias are not all finite"):
        publish(tmp_path, net=net)
