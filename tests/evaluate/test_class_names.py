"""Labels that name classes."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import pytest

from forebay.schemas.errors import ModelError
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.evaluate.class_names import RETRY_S, ClassNames, ClassNamesUnreadable, manifest_names
from tests.models.build import publish

REF = ModelRef("late", 3)


class Clock:
    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return 0


def test_names_numbers_and_truth_values_mean_classes() -> None:
    names = ClassNames(lambda _ref: ("on time", "late"), clock=Clock())
    assert names.missing([REF]) == [REF]
    names.load([REF])
    assert names.missing([REF]) == []
    values = ("late", "on time", "early", 1, 0.5, True, False)
    assert [names.resolve(REF, value) for value in values] == [1.0, 0.0, None, 1.0, 0.5, 1.0, 0.0]
    with pytest.raises(ClassNamesUnreadable, match="late version 4"):
        names.resolve(ModelRef("late", 4), "late")


def test_a_manifest_that_cannot_be_read_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    answers: list[Collection[str] | None] = [None, None, ("on time", "late")]

    def read(_ref: ModelRef) -> Collection[str]:
        answer = answers.pop(0)
        if answer is None:
            raise ModelError("the repository is unreachable")
        return answer

    names = ClassNames(read, clock=clock)
    for _ in range(2):
        names.load(names.missing([REF]))
        assert names.missing([REF]) == []
        clock.now_s += RETRY_S
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and "late version 3: labels that name classes" in caplog.text
    assert names.unreadable() == [REF] and names.resolve(REF, 1) == 1.0
    with pytest.raises(ClassNamesUnreadable, match="the repository is unreachable") as caught:
        names.resolve(REF, "late")
    assert caught.value.ref == REF and caught.value.remedy
    names.load(names.missing([REF]))
    assert names.resolve(REF, "late") == 1.0 and names.unreadable() == []


def test_a_version_that_a_readable_repository_does_not_have_has_no_names(tmp_path: Path) -> None:
    publish(tmp_path, "late")
    names = ClassNames(manifest_names({"": str(tmp_path), "gone": str(tmp_path / "nowhere")}), clock=Clock())
    absent = [ModelRef("late", 99), ModelRef("unknown", 1), ModelRef("no name", 1)]
    unreadable = ModelRef("gone", 1)
    names.load([*absent, unreadable])
    assert [names.resolve(ref, "yes") for ref in absent] == [None, None, None]
    assert names.unreadable() == [unreadable]


def test_a_deleted_version_has_the_names_that_its_predictions_carry(tmp_path: Path) -> None:
    publish(tmp_path, "late")
    names, gone = ClassNames(manifest_names({"": str(tmp_path)}), clock=Clock()), ModelRef("late", 99)
    names.load([gone])
    names.learn(gone, {"late": 1}, 2)
    assert names.resolve(gone, "late") is None, "else the labels of the other class would be missing"
    names.learn(gone, {"on time": 0}, 2)
    assert [names.resolve(gone, value) for value in ("late", "on time", "early")] == [1.0, 0.0, None]
    names.learn(REF, {"a": 0, "b": 1}, 2)
    assert names.resolve(REF, "b") == 1.0, "the manifest need not be read"
    assert names.missing([REF]) == [REF]
    names.learn(REF, {"c": 1}, 2)
    with pytest.raises(ClassNamesUnreadable):
        names.resolve(REF, "b")


def test_an_empty_folder_is_not_a_repository_that_can_be_read(tmp_path: Path) -> None:
    """It may be a volume that is not mounted, in which no version was deleted."""
    names = ClassNames(manifest_names({"": str(tmp_path)}), clock=Clock())
    names.load([REF])
    assert names.unreadable() == [REF]
    with pytest.raises(ClassNamesUnreadable, match="the repository has no models"):
        names.resolve(REF, "late")


def test_names_come_from_the_manifest(tmp_path: Path) -> None:
    publish(tmp_path / "other", "late")
    read = manifest_names({"": str(tmp_path / "nowhere"), "late": str(tmp_path / "other")})
    assert list(read(ModelRef("late", 1))) == ["no", "yes"]
    with pytest.raises(ModelError):
        read(ModelRef("unknown", 1))
