"""Policies follow their files: changes take effect together, and files that cannot be used leave the old policy in force."""

from __future__ import annotations

import logging
from pathlib import Path

import orjson
import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.access.admin_policy import Caller
from forebay.stream.access.tokens import Denial
from forebay.stream.authorization.assembly import build_policies
from forebay.stream.authorization.policy_keeper import PolicyKeeper, open_policies
from forebay.stream.authorization.sources import SourceTexts, read_sources
from forebay.stream.config.access_section import AccessSection
from forebay.stream.core.model_ref import ModelRef
from tests.access.issuer import JULY_S, key_set, keys, sign
from tests.core.build import ManualClock

MODEL = ModelRef("m", 1)


def section(folder: Path, **others: object) -> AccessSection:
    settings = {
        "admin": True,
        "keys_file": str(folder / "keys.json"),
        "rules_file": str(folder / "rules.toml"),
        "issuer": "https://id",
        "admin_audience": "fb",
    }
    return AccessSection.model_validate(settings | others)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_bytes(key_set())
    (tmp_path / "rules.toml").write_text('[roles]\n"team-a/*" = ["predict"]\n[rules]\n"team-a/*" = ["m"]\n')
    return tmp_path


async def opened(folder: Path, **others: object) -> tuple[PolicyKeeper, ManualClock]:
    clock = ManualClock()
    keeper = await open_policies(section(folder, **others), clock=clock)
    assert keeper is not None
    return keeper, clock


def caller(keeper: PolicyKeeper, kid: str = "ES256") -> Caller | Denial:
    policy = keeper.admin()
    assert policy is not None
    return policy.identify(sign(kid), now_ms=JULY_S * 1000)


def may_use(keeper: PolicyKeeper) -> bool:
    found = caller(keeper)
    return isinstance(found, Caller) and found.may_use(MODEL)


async def test_new_rules_take_effect_without_a_restart(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper, clock = await opened(folder)
    before = keeper.status.revision
    assert may_use(keeper)
    clock.advance(60)
    await keeper.refresh()
    assert keeper.status.num_changes == 0 and keeper.status.revision == before

    (folder / "rules.toml").write_text('[rules]\n"team-b" = ["m"]\n')
    caplog.set_level(logging.INFO, "forebay.access")
    await keeper.refresh()
    assert not may_use(keeper) and keeper.status.num_changes == 1
    assert keeper.status.revision != before and keeper.status.since_ms == clock.wall_ms()
    assert f"policy {keeper.status.revision} replaces {before}" in caplog.text


async def test_a_removed_key_is_no_longer_accepted(folder: Path) -> None:
    keeper, _ = await opened(folder)
    assert isinstance(caller(keeper, "RS256"), Caller)
    (folder / "keys.json").write_bytes(orjson.dumps({"keys": [keys()["ES256"].as_dict(private=False)]}))
    await keeper.refresh()
    assert caller(keeper, "RS256") is Denial.UNKNOWN_KEY and isinstance(caller(keeper), Caller)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rules.toml", "[rules]\nteam-b = [", "Invalid value"),
        ("rules.toml", '[rules]\nteam-b = ["m*n"]', "must be NAME"),
        ("rules.toml", '[roles]\nteam-b = ["root"]', "must be one of look"),
        ("rules.toml", '[rule]\nteam-b = ["m"]', "'rule' besides the tables"),
        ("rules.toml", '[rules]\ninline = ["n"]', "'inline' is in access.rules, too"),
        ("keys.json", "{", "it is not JSON"),
        ("keys.json", None, "cannot be read"),
    ],
)
async def test_what_cannot_be_used_leaves_the_old_policy_in_force(
    folder: Path, name: str, text: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, _ = await opened(folder, rules={"inline": ("m",)})
    before, good = keeper.status.revision, (folder / name).read_bytes()
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    for _ in range(3):
        await keeper.refresh()
    assert may_use(keeper) and keeper.status.revision == before
    assert keeper.status.error is not None and reason in keeper.status.error and name in keeper.status.error
    assert keeper.status.num_failures == 1
    assert caplog.text.count("remains in force") == 1
    (folder / name).write_bytes(good)
    await keeper.refresh()
    assert keeper.status.error is None and keeper.status.revision == before and keeper.status.num_changes == 0


async def test_nothing_is_read_where_nothing_needs_a_token() -> None:
    assert await open_policies(AccessSection(), clock=ManualClock()) is None


def test_the_revision_is_that_of_the_rules_wherever_they_are_written(folder: Path) -> None:
    of_file = build_policies(section(folder), read_sources(section(folder)))
    inline = section(folder, rules_file=None, rules={"team-a/*": ("m",)}, roles={"team-a/*": ("predict",)})
    assert build_policies(inline, read_sources(inline)).revision == of_file.revision
    other = build_policies(section(folder, clock_skew_ms=1), read_sources(section(folder)))
    assert other.revision != of_file.revision


def test_wrong_files_are_an_error_at_the_start(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"rules\.toml: .*besides the tables"):
        PolicyKeeper(section(folder), SourceTexts(key_set(), b"x = 1"), clock=ManualClock())
