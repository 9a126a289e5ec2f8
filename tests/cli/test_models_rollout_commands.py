"""The commands of rollouts, on the embedded broker, with a model repository and a stand-in for a worker."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forebay.schemas.topics import OUTCOME_DELTAS, ROLLOUT_SWITCHES, ROLLOUTS
from forebay.stream.cli import main
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.kafka.producer.plain_producer import PlainProducer
from forebay.stream.rollouts import changes
from forebay.stream.rollouts.revision import initial_revision
from forebay.stream.rollouts.switch_log import Switch
from tests.brokers.clients import create_topic, producer
from tests.brokers.resolve import Broker
from tests.cli.revisions import proposal
from tests.cli.stand_in_worker import StandInWorker
from tests.conftest import Names
from tests.models.build import make_net, publish

MODEL = "fraud"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with versions 1 to 4 of the model."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models"
    for seed in range(4):
        publish(folder, MODEL, net=make_net(seed=seed))
    return folder


class Commands:
    """Runs `forebay models` against the topics of one test."""

    def __init__(self, bootstrap: str, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.bootstrap, self.prefix, self._capsys = bootstrap, prefix, capsys
        self.options = {
            "kafka.bootstrap_servers": bootstrap,
            "topics.prefix": prefix,
            "kafka.group_id": f"{prefix}workers",
            "model.name": MODEL,
            "model.version": "3",
            "rollouts.enabled": "true",
        }

    def __call__(self, *arguments: str, status: int = 0, **options: str) -> Any:
        """Return the output, decoded if --json is given and the command succeeds, else the errors if it shall fail."""
        stated = self.options | {key.replace("_", ".", 1): value for key, value in options.items()}
        settings = [part for key, value in stated.items() for part in ("--set", f"{key}={value}")]
        cluster = () if arguments[0] in ("alias", "gc") else ("--bootstrap-server", self.bootstrap)
        found = main(["models", *arguments, *cluster, *settings])
        done = self._capsys.readouterr()
        assert found == status, done.out + done.err
        if status and not ("--json" in arguments and done.out):
            return done.err
        return json.loads(done.out) if "--json" in arguments else done.out + done.err

    def worker(self, name: str = "w1") -> StandInWorker:
        return StandInWorker(self.bootstrap, self.prefix, ModelRef(MODEL, 3), name=name)

    async def append(self, topic: str, *records: tuple[bytes, bytes]) -> None:
        async with producer(self.bootstrap) as client:
            for key, value in records:
                await client.send_and_wait(f"{self.prefix}{topic}", value, key=key)


@pytest.fixture
def run(embedded_broker: Broker, names: Names, repository: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The commands, with topics."""
    for name, partitions in (("features", 2), (ROLLOUTS.name, 1), (ROLLOUT_SWITCHES.name, 1), (OUTCOME_DELTAS.name, 1)):
        asyncio.run(create_topic(embedded_broker.bootstrap, names(name), partitions=partitions))
    return Commands(embedded_broker.bootstrap, names(""), capsys)


def test_a_life_of_canary_promotion_and_rollback(run: Commands) -> None:
    worker = run.worker()
    with worker.running():
        assert "loads version 4" in run("canary", MODEL, "4", "--weight", "5", "--dry-run")
        assert run("rollout", MODEL, "--json")["revision"]["number"] == 0
        canary = run("canary", MODEL, "4", "--step", "5,100", "--reason", "try it", "--wait", "--json")
        assert canary["changed"] and canary["wait"]["applied"] and canary["after"]["canaries"][0]["weight"] == 5
        assert "no aggregator is running" in canary["notes"][0]
        assert canary["after"]["digests"].keys() == {"3", "4"} and "@" in canary["after"]["author"]
        (verdict,) = run("rollout", MODEL, "--json")["verdicts"]
        assert verdict["version"] == 4 and verdict["verdict"] == "inconclusive" and verdict["events_needed"] == 1000
        shown = run("rollout", MODEL)
        assert "inconclusive" in shown and "no data of version 4 in this step" in shown
        paused = run("pause", MODEL)
        assert "paused: no automatic steps" in paused and "no aggregator" not in paused
        assert ", resume by " in run("resume", MODEL)
        promoted = run("promote", MODEL, "--wait", "--author", "ben")
        assert "revision 3 → 4, promote by ben" in promoted and "1 of 1 live worker has applied revision 4" in promoted
        assert "nothing was changed" in run("promote", MODEL, "4")
        assert "1 of 1 live worker has applied revision 5" in run("rollback", MODEL, "--reason", "scores are 0")
        status = run("rollout", MODEL)
        assert "version 3" in status and "scores are 0" in status and "rejected" in status
        revisions = run("history", MODEL, "--json")["revisions"]
        assert [each["action"] for each in revisions] == ["rollback", "promote", "resume", "pause", "canary"]


def test_a_rejected_version_needs_force(run: Commands) -> None:
    run("promote", MODEL, "4")
    run("rollback", MODEL, "--no-wait", "--reason", "scores are 0", "--author", "ben")
    refused = run("promote", MODEL, "4", status=2)
    assert "version 4 of fraud was rejected by ben in revision 2 (rollback" in refused and "scores are 0" in refused
    assert "--force" in refused
    assert "revision 2 → 3" in run("promote", MODEL, "4", "--force")


def test_waiting_ends_at_the_timeout_with_who_has_not_applied_it(run: Commands) -> None:
    slow = run.worker("slow")
    slow.frozen, slow.error = 0, "version 2: golden row 0 differs"
    with slow.running():
        failed = run("rollback", MODEL, "2", "--timeout", "0.5", status=1)
        assert "error: after 0.5 s, 0 of 1 live worker have applied revision 1" in failed
        assert "slow  version 2: golden row 0 differs" in failed
        document = run("promote", MODEL, "4", "--wait", "--timeout", "0.5", "--json", status=1)
        assert [each["worker"] for each in document["wait"]["waiting"]] == ["slow"]
    assert "no live worker serves the model" in run("rollback", MODEL, "2", "--force", "--timeout", "0.1", status=1)


def test_of_two_changes_at_once_one_wins_and_the_other_names_it(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    first = changes.promote(initial_revision(MODEL, 3), 2, proposal(author="ben", reason="mine"))
    send = PlainProducer.send

    async def send_second(self: PlainProducer, topic: str, *record: bytes, partition: int) -> int:
        await run.append(ROLLOUTS.name, first.encode())
        return await send(self, topic, *record, partition=partition)

    with monkeypatch.context() as patched:
        patched.setattr(PlainProducer, "send", send_second)
        lost = run("promote", MODEL, "4", status=1)
    assert "promote by ben became revision 1 at 2026-12-01T12:01:00.000Z" in lost and "its reason: mine" in lost
    assert "refused: ben was first" in run("history", MODEL)
    assert run("rollout", MODEL, "--json")["revision"]["stable"] == 2


def test_the_history_shows_what_could_have_served(run: Commands) -> None:
    run("canary", MODEL, "4", "--weight", "20", "--author", "ben")
    late = replace(changes.promote(initial_revision(MODEL, 3), 2, proposal()), number=10**12, based_on=10**12 - 1)
    asyncio.run(run.append(ROLLOUTS.name, late.encode()))
    now_ms = time.time_ns() // 1_000_000
    switch = Switch(MODEL, f"{run.prefix}features", 1, revision=1, first_offset=40, switched_ms=now_ms, worker="w1")
    asyncio.run(run.append(ROLLOUT_SWITCHES.name, switch.encode()))
    before = run("history", MODEL, "--position", "features:1@39", "--json")
    after = run("history", MODEL, "--position", "features:1@40", "--json")
    assert before["versions"] == [{"version": 3, "weight": 100}] and before["revision"] == 0
    assert after["versions"] == [{"version": 3, "weight": 80}, {"version": 4, "weight": 20}] and not after["predicted"]
    assert "has not been predicted yet" in run("history", MODEL, "--position", "features:1@40")
    assert run("history", MODEL, "--at", "0s", "--json")["partitions"][1]["revision"] in (0, 1)
    assert "features 0-1" in run("history", MODEL, "--at", "-2h")
    assert "canary" in run("history", MODEL, "--revision", "1")
    for arguments, error in (
        (("--position", "features:2@0"), "has no partition 2; it has 2"),
        (("--position", "predictions:0@0"), "is not an input topic"),
        (("--revision", "9"), "has no revision 9; the highest is 1"),
        (("--at", "soon"), "is not a time"),
        (("--at", "2100-01-01T00:00:00Z"), "has not come yet"),
        (("--key", "k"), "--key is for"),
        (("--at", "1h", "--revision", "1"), "exclude each other"),
        (("--at", "1h", "--aliases"), "about the repository"),
    ):
        assert error in run("history", MODEL, *arguments, status=2)


def test_moves_of_aliases_stay_available(run: Commands) -> None:
    run("alias", f"{MODEL}@2", "champion", "--reason", "first")
    assert run("promote", MODEL, "champion", "--json", "--author", "ben")["after"]["evidence"] == {
        "requested": f"{MODEL}@champion"
    }
    assert run("rollout", MODEL, "--json")["revision"]["stable"] == 2
    shown = run("history", MODEL)
    assert "moves of aliases" in shown and "first" in shown and "ben" in shown
    (move,) = run("history", MODEL, "--alias", "champion", "--json")
    assert move["reason"] == "first"


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (("promote", MODEL, "9"), 2, "there is no version 9"),
        (("promote", MODEL, "latest"), 2, "latest"),
        (("promote", "frauds", "4"), 2, "did you mean 'fraud'?"),
        (("promote", f"{MODEL}@4", "3"), 2, "names a version already"),
        (("promote", MODEL), 2, "no canary, so the version must be named"),
        (("canary", MODEL), 2, "--weight"),
        (("canary", MODEL, "--weight", "5"), 2, "the version of fraud is missing"),
        (("canary", MODEL, "3", "--weight", "5"), 2, "is the stable version"),
        (("canary", MODEL, "4", "--weight", "0"), 2, "--weight: 0 %"),
        (("canary", MODEL, "4", "--step", "50,25"), 2, "ascending"),
        (("canary", MODEL, "4", "--weight", "5", "--route-by", ""), 2, "is not the name of an event field"),
        (("promote", MODEL, "0"), 2, "version '0' is not possible"),
        (("shadow", MODEL, "4", "--sample", "2"), 2, "2 is not a share"),
        (("shadow", MODEL, "3"), 2, "already predicts events"),
        (("rollback", MODEL), 2, "no version of fraud was stable before version 3"),
        (("pause", MODEL), 2, "no steps"),
        (("pause", f"{MODEL}@4"), 2, "without a version"),
        (("resume", MODEL), 2, "not paused"),
        (("abort", MODEL), 2, "no canary and no shadow"),
        (("promote", "../x", "4"), 2, "the model's name is '../x'"),
    ],
)
def test_what_is_not_possible_is_refused_with_the_reason(
    run: Commands, arguments: tuple[str, ...], status: int, error: str
) -> None:
    shown = run(*arguments, status=status)
    assert error in shown and "Traceback" not in shown


def test_rollouts_must_be_enabled_and_their_topics_exist(run: Commands) -> None:
    disabled = run("promote", MODEL, "4", status=2, rollouts_enabled="false")
    assert "rollouts.enabled is false" in disabled and "forebay topics create" in disabled
    assert "rollouts.enabled" in run("history", MODEL, "--at", "1h", status=2, rollouts_enabled="false")
    assert "no alias was ever set" in run("history", MODEL, rollouts_enabled="false")
    missing = run("promote", MODEL, "4", status=1, topics_prefix="elsewhere-")
    assert "elsewhere-rollouts" in missing and "forebay topics create" in missing


def test_the_version_that_workers_announce_is_revision_0(run: Commands) -> None:
    """The highest version was published after the workers had started."""
    with run.worker().running():
        run.options.pop("model.version")
        assert run("canary", MODEL, "4", "--weight", "5", "--json")["after"]["stable"] == 3


def test_a_worker_that_knows_later_revisions_than_the_topic_is_not_taken_for_one_that_applied_the_change(
    run: Commands,
) -> None:
    worker = run.worker()
    first = changes.promote(initial_revision(MODEL, 3), 2, proposal())
    worker.know(first)  # from a topic that was deleted and created again
    with worker.running():
        shown = run("canary", MODEL, "4", "--weight", "5", "--wait", status=2)
    assert "worker w1 knows revision 1 of fraud" in shown and "ends at revision 0" in shown
    assert "0, the configuration" in run("rollout", MODEL)


def test_versions_that_a_rollout_names_are_not_cleaned_up(run: Commands) -> None:
    run("promote", MODEL, "2")
    plans = run("gc", "--keep", "1", "--older-than", "0", "--json")["versions"]
    assert {each["version"]: each["kept"] for each in plans} == {
        1: None,
        2: "its rollout names it",
        3: "its rollout names it",
        4: "one of the newest 1",
    }
