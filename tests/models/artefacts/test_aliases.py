from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.aliases import Aliases, AliasMove, VersionCopy, read_aliases
from forebay.models.artefacts.repository import list_models, list_versions, read_signature, split_reference
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, publish

GOOD = Aliases(
    (
        AliasMove(CREATED_AT, "anna", "champion", before=None, after=1, reason="the first"),
        AliasMove(CREATED_AT, "bert", "champion", before=1, after=2, reason=""),
        AliasMove(CREATED_AT, "bert", "old", before=None, after=1, reason="é"),
        AliasMove(CREATED_AT, "anna", "old", before=1, after=None, reason="gone"),
        AliasMove(CREATED_AT, "anna", "canary", before=None, after=2, reason=""),
    ),
    (VersionCopy(CREATED_AT, "anna", 2, {"uri": "models:/m@a", "resolved": "models:/m/7"}),),
)


def fault(data: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        Aliases.from_json(data, "aliases.json")
    assert caught.value.remedy and caught.value.message.startswith("aliases.json: ")
    return caught.value


def changed(change: Any) -> bytes:
    document = json.loads(GOOD.to_json())
    change(document)
    return json.dumps(document).encode()


def test_the_current_versions_follow_from_the_history() -> None:
    assert dict(GOOD.versions) == {"canary": 2, "champion": 2}
    assert GOOD.of_version(2) == ("canary", "champion") and GOOD.of_version(1) == ()
    assert Aliases().versions == {}


def test_what_is_written_is_read() -> None:
    data = GOOD.to_json()
    assert Aliases.from_json(data, "aliases.json") == GOOD
    assert json.loads(data)["aliases"] == {"canary": 2, "champion": 2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format=2), "the format is 2; this version of Forebay reads format 1"),
        (lambda d: d.pop("history"), "history is missing"),
        (lambda d: d.update(other=1), "other is not a known key"),
        (lambda d: d["aliases"].update(champion=1), "the aliases are not those to which the history leads"),
        (lambda d: d["aliases"].update(other=1), "the aliases are not those to which the history leads"),
        (lambda d: d["aliases"].pop("champion"), "the aliases are not those to which the history leads"),
        (lambda d: d["history"].pop(0), "history[0].from is 1, but champion was at None"),
        (lambda d: d["history"][1].update({"from": 5}), "history[1].from is 5, but champion was at 1"),
        (lambda d: d["history"][0].update(to=0), "history[0].to is 0; allowed is a whole number from 1 upwards"),
        (lambda d: d["history"][0].update(at="now"), "history[0].at is 'now'; allowed is a time such as"),
        (lambda d: d["history"][0].update(alias="2"), "history[0].alias is '2'; allowed is letters, digits"),
        (lambda d: d["history"][0].update(by=None), "history[0].by is None; allowed is a string"),
        (
            lambda d: d["copies"][0].update(at="2026-11-02T09:30:00"),
            "copies[0].at is '2026-11-02T09:30:00'; allowed is a",
        ),
        (
            lambda d: d["copies"][0].update(version=0),
            "copies[0].version is 0; allowed is a whole number from 1 upwards",
        ),
        (lambda d: d["copies"][0]["source"].pop("uri"), "copies[0].source.uri is missing"),
        (lambda d: d["copies"][0].update(who="x"), "copies[0].who is not a known key"),
        (lambda d: d["history"][0].update(who="x"), "history[0].who is not a known key"),
    ],
)
def test_a_fault_in_the_file_is_named(change: Any, says: str) -> None:
    assert fault(changed(change)).message.startswith(f"aliases.json: {says}")


def test_a_file_without_copies_has_no_such_key() -> None:
    data = Aliases(GOOD.history).to_json()
    assert b"copies" not in data and Aliases.from_json(data, "aliases.json").copies == ()


def test_true_is_not_version_one() -> None:
    one = Aliases(GOOD.history[:1]).to_json()
    assert b'"champion": 1' in one
    assert "history leads" in fault(one.replace(b'"champion": 1', b'"champion": true')).message


@given(at=st.integers(0, 2000), data=st.binary(max_size=3), count=st.integers(0, 3))
def test_a_damaged_file_is_refused_or_read(at: int, data: bytes, count: int) -> None:
    content = bytearray(GOOD.to_json())
    at %= len(content)
    content[at : at + count] = data
    try:
        Aliases.from_json(bytes(content), "aliases.json")
    except ModelError as error:
        assert error.remedy and len(error.message) < 1000


def test_an_alias_is_accepted_in_place_of_a_version(tmp_path: Path) -> None:
    for _ in range(3):
        publish(tmp_path)
    move_alias(tmp_path, "delays", "champion", 2, by="anna", at=CREATED_AT)
    assert load_artefact(tmp_path, "delays", "champion").manifest.version == 2
    assert read_signature(tmp_path, "delays", "champion") == read_signature(tmp_path, "delays", 2)
    assert load_artefact(tmp_path, "delays").manifest.version == 3
    assert list_versions(tmp_path, "delays") == [1, 2, 3] and list_models(tmp_path) == ["delays"]


def test_an_unknown_alias_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    publish(tmp_path)

    def refused(alias: str) -> ModelError:
        with pytest.raises(ModelError) as caught:
            load_artefact(tmp_path, "delays", alias)
        assert caught.value.kind == "alias"
        return caught.value

    assert refused("champion").message == f"{tmp_path / 'delays'}: there is no alias 'champion'"
    assert refused("champion").remedy == "the model has no aliases: give a version"
    move_alias(tmp_path, "delays", "champion", 1, by="anna", at=CREATED_AT)
    assert refused("champoin").remedy == "did you mean 'champion'? Otherwise choose champion"
    assert "leave the version out" in refused("latest").message
    for alias in ("", "1", "a b", "é", "-a", "a" * 65, "a\n"):
        assert "starting with a letter" in str(refused(alias).remedy)


def test_an_alias_of_a_version_that_is_gone(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path)
    move_alias(tmp_path, "delays", "champion", 2, by="anna", at=CREATED_AT)
    (tmp_path / "delays" / "2").rename(tmp_path / "away")
    with pytest.raises(ModelError) as caught:
        load_artefact(tmp_path, "delays", "champion")
    assert caught.value.message.endswith("there is no version 2, where the alias 'champion' leads")


def test_links_and_pipes_in_place_of_the_file_are_refused(tmp_path: Path) -> None:
    publish(tmp_path / "repository")
    file = tmp_path / "repository" / "delays" / "aliases.json"
    (tmp_path / "outside").write_bytes(GOOD.to_json())
    file.symlink_to(tmp_path / "outside")
    with pytest.raises(ModelError, match="leads out of the repository"):
        read_aliases(tmp_path / "repository", "delays")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="not a regular file"):
        read_aliases(tmp_path / "repository", "delays")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("delays", ("delays", None)), ("delays@3", ("delays", 3)), ("delays@champion", ("delays", "champion"))],
)
def test_a_reference_is_a_name_with_a_version_or_an_alias(reference: str, expected: tuple[str, Any]) -> None:
    assert split_reference(reference) == expected


@pytest.mark.parametrize(
    "reference", ["", "@3", "a/b@1", "delays@", "delays@0", "delays@01", "delays@a@b", "delays@-1"]
)
def test_other_references_are_refused(reference: str) -> None:
    with pytest.raises(ModelError) as caught:
        split_reference(reference)
    assert caught.value.remedy
