from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from forebay.models.distributed.checkpoints import DESCRIPTION_FILE, SHARED_FILE, Checkpoint, CheckpointFolder
from forebay.schemas.errors import ModelError, StorageError


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, b"shared of %d" % step, [b"rank 0 of %d" % step, b"rank 1 of %d" % step])


def saved(folder: Path, *steps: int, keep: int = 3) -> CheckpointFolder:
    checkpoints = CheckpointFolder(folder, "print", keep)
    for step in steps:
        checkpoints.save(checkpoint(step))
    return checkpoints


def test_the_newest_checkpoint_is_read_back(tmp_path: Path) -> None:
    assert saved(tmp_path / "none").latest(2) is None
    assert saved(tmp_path / "some", 5, 10).latest(2) == checkpoint(10)


def test_only_the_newest_remain(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 4, 10, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000004", "step-0000000010"]


DAMAGED_FILES = (DESCRIPTION_FILE, SHARED_FILE, "rank-0000.safetensors", "rank-0001.safetensors")


@pytest.mark.parametrize("name", DAMAGED_FILES)
@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "empty"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = saved(tmp_path, 5, 10)
    file = tmp_path / "step-0000000010" / name
    data = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(data[:-1])
        case "flip":
            file.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        case "remove":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert checkpoints.latest(2) == checkpoint(5)
    assert "step-0000000010" in caplog.text and name in caplog.text


def test_a_flipped_bit_anywhere_in_the_description_is_found(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 10)
    file = tmp_path / "step-0000000010" / DESCRIPTION_FILE
    data = file.read_bytes()
    for place in range(0, len(data), 5):
        file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert checkpoints.latest(2) in (None, checkpoint(10))  # a changed space between keys changes nothing


def test_all_damaged_is_the_same_as_none(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    (tmp_path / "step-0000000005" / SHARED_FILE).unlink()
    assert checkpoints.latest(2) is None
    checkpoints.save(checkpoint(5))  # replaces the damaged one
    assert checkpoints.latest(2) == checkpoint(5)


def test_an_interrupted_save_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 5)

    def killed(*paths: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(checkpoint(10))
    assert (tmp_path / ".step-0000000010.partial").exists()
    assert checkpoints.latest(2) == checkpoint(5)
    checkpoints.save(checkpoint(10))
    assert checkpoints.latest(2) == checkpoint(10)
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 5)
    with pytest.raises(ModelError, match="of 2 ranks, and this training has 3"):
        checkpoints.latest(3)
    with pytest.raises(ModelError, match="another recipe"):
        CheckpointFolder(tmp_path, "other").latest(2)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file/step-0000000001: the checkpoint cannot be written"):
        CheckpointFolder(tmp_path / "file", "print").save(checkpoint(1))
