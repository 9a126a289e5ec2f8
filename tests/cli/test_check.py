"""`forebay check`: checks of the model and the cluster, even if these are missing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.models.statistics.reference import reference_statistics
from forebay.stream.aggregate.topics import create_aggregator_topics
from forebay.stream.cli import main
from forebay.stream.config.sections import (
    EvaluateSection,
    KafkaSection,
    RolloutsSection,
    Settings,
    TopicsSection,
    WindowSection,
)
from forebay.stream.evaluate.topics import create_evaluator_topics
from forebay.stream.kafka.cluster.topic_plan import TopicState, find_problems, plan_topics
from forebay.stream.kafka.cluster.topics import TopicCheck, create_topics
from forebay.stream.kafka.protocol.authorized_operations import ClusterView
from forebay.stream.preflight import Status, _summarise
from tests.brokers.clients import create_topic
from tests.brokers.resolve import Broker
from tests.conftest import Names
from tests.models.artefacts.test_artefact import replace_file
from tests.models.build import make_net, make_signature, publish

WINDOWED = Signature(
    features=tuple(Feature(f"f{index}") for index in range(3)),
    shape=(3,),
    task="multiclass",
    output_dim=2,
    window=WindowInput(aggregates=(Aggregate("count"), Aggregate("sum", 0), Aggregate("mean", 1))),
)
CLUSTER = ["broker", "topics", "aggregator", "input", "output", "group", "transactions"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with a model called delays."""
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "models")
    return tmp_path


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]  # bound, so that no one else takes it, but not listening


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def check(capsys: pytest.CaptureFixture[str], *settings: str, timeout_s: float = 5) -> tuple[int, dict[str, Any]]:
    """Run `forebay check` and return its exit status and the checks by name."""
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    status = main(["check", "--json", "--timeout-s", str(timeout_s), *arguments])
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (status == 0)
    return status, {each["name"]: each for each in document["checks"]}


def statuses(checks: dict[str, Any]) -> dict[str, str]:
    return {name: each["status"] for name, each in checks.items()}


def test_the_model_is_checked_although_the_broker_is_unreachable(
    closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, checks = check(capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", "model.name=delays")
    assert status == 1
    assert statuses(checks) == {
        "configuration": "ok",
        "admin": "ok",
        "broker": "failed",
        **dict.fromkeys(CLUSTER[1:], "skipped"),
        "model": "ok",
    }
    assert checks["broker"]["detail"] == f"cannot reach Kafka at 127.0.0.1:{closed_port}: nothing listens there"
    assert checks["broker"]["remedy"]


def test_with_windows_the_topics_timestamp_settings_are_part_of_the_list() -> None:
    settings = Settings(window=WindowSection(kind="tumbling", size_ms=1000))
    wanted = plan_topics(settings)
    configs = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "3600000"}
    states = {
        one.name: TopicState(
            one.name, "present", num_partitions=4, replication_factor=1, configs={**one.configs, **configs}
        )
        for one in wanted
    }
    checked = TopicCheck(wanted, states, find_problems(settings, wanted, states))
    found = _summarise("topics", checked)
    assert found.status is Status.OK and len(found.problems) == 1
    assert found.problems[0].startswith(
        "features: message.timestamp.type is CreateTime, so records have their producers'"
    )


def test_every_server_is_tried_and_reported(closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    servers = f"127.0.0.1:{closed_port},no-such-host.invalid:1"
    _, checks = check(capsys, f"kafka.bootstrap_servers={servers}")
    assert f"127.0.0.1:{closed_port}: nothing listens there" in checks["broker"]["detail"]
    assert "no-such-host.invalid:1: there is no such host name" in checks["broker"]["detail"]


def test_a_silent_broker_takes_no_longer_than_the_timeout(silent_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    started_s = time.monotonic()
    servers = ",".join([f"127.0.0.1:{silent_port}"] * 3)
    _, checks = check(capsys, f"kafka.bootstrap_servers={servers}", "model.repository=none", timeout_s=0.5)
    assert time.monotonic() - started_s < 25  # kafka.request_timeout_ms is 30 s
    assert "no answer within 0.5 s" in checks["broker"]["detail"]


def test_a_wrong_configuration_skips_all_other_checks(capsys: pytest.CaptureFixture[str]) -> None:
    status, checks = check(capsys, "batch.max_batch_size=0", "log.level=loud")
    assert status == 1
    assert statuses(checks) == {"configuration": "failed", **dict.fromkeys(["admin", *CLUSTER, "model"], "skipped")}
    assert len(checks["configuration"]["problems"]) == 2


@pytest.mark.parametrize(
    ("settings", "report"),
    [
        (["model.repository=none"], "there is no such model repository"),
        (["model.name=delay"], "there is no model 'delay'"),
        (["model.name=delays", "model.version=7"], "there is no version 7"),
        (["model.name=delays", "model.device=cuda:99"], "cuda"),
    ],
)
def test_a_missing_model(
    settings: list[str], report: str, closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _, checks = check(capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", *settings)
    assert checks["model"]["status"] == "failed"
    assert report in checks["model"]["detail"]


def test_a_model_that_raises_is_reported(
    closed_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the net")

    monkeypatch.setattr("forebay.models.serving.served_model.ServedModel.warm_up", broken)
    _, checks = check(capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", "model.name=delays")
    assert checks["model"]["detail"] == "delays: the warm-up raised ZeroDivisionError: in the net"


def test_a_model_that_no_longer_gives_its_golden_outputs_is_reported(
    closed_port: int, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    version = folder / "models" / "delays" / "1"
    other = publish(folder / "models", "other", net=make_net(seed=1))
    replace_file(version, (other / "golden.safetensors").read_bytes(), "golden.safetensors")
    server = f"kafka.bootstrap_servers=127.0.0.1:{closed_port}"
    _, checks = check(capsys, server, "model.name=delays")
    assert checks["model"]["status"] == "failed"
    says = f"{Path('models/delays/1/golden.safetensors')} on cpu: for golden row 0 the model's output "
    assert checks["model"]["detail"].startswith(says)
    assert "publish it again" in checks["model"]["remedy"]
    assert main(["run", "--set", server, "--set", "model.name=delays"]) == 1
    assert says in capsys.readouterr().err


def test_each_of_several_models_is_checked(closed_port: int, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    publish(folder / "models", "sensors", signature=WINDOWED)
    publish(folder / "models", "flat")
    models = [
        {"name": "delays", "version": 1},
        {"name": "sensors", "topics": ["readings"], "window": {"kind": "tumbling", "size_ms": 1000}},
        {"name": "flat", "topics": ["clicks"], "window": {"kind": "tumbling", "size_ms": 1000}},
        {"name": "delays2"},
        {"name": "delayed", "device": "cuda:99"},
        {"name": "only-named", "version": 7},
    ]
    publish(folder / "models", "delayed")
    publish(folder / "models", "only-named")
    status, checks = check(
        capsys,
        f"kafka.bootstrap_servers=127.0.0.1:{closed_port}",
        f"models={json.dumps(models)}",
        "topics.prefix=p.",
        "model.device=cpu",
    )
    assert status == 1 and "model" not in checks
    assert [checks[f"models[{index}]"]["status"] for index in range(6)] == ["ok", "ok", *["failed"] * 4]
    assert checks["models[0]"]["detail"].startswith("delays version 1 (multiclass, 3 features) on cpu, warm in ")
    assert checks["models[0]"]["detail"].endswith("; the default model; takes the events of p.features")
    assert checks["models[1]"]["detail"].startswith("sensors version 1")
    assert checks["models[1]"]["detail"].endswith("; takes the events of p.readings")
    assert "the model flat takes single events" in checks["models[2]"]["detail"]
    assert "there is no model 'delays2'" in checks["models[3]"]["detail"]
    assert "cuda" in checks["models[4]"]["detail"]
    assert "there is no version 7" in checks["models[5]"]["detail"]


def test_a_model_without_topics_takes_only_events_that_name_it(
    closed_port: int, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    publish(folder / "models", "other")
    _, checks = check(
        capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", 'models=[{"name": "delays"}, {"name": "other"}]'
    )
    assert checks["models[1]"]["detail"].endswith("; takes only events that name it")


def test_with_drift_it_is_said_which_models_have_nothing_to_be_compared_with(
    closed_port: int, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    rows = np.random.default_rng(0).random((50, 3), np.float32)
    statistics = reference_statistics(make_signature(), [rows]).to_dict()
    publish(folder / "models", "described", reference_statistics=statistics)
    models = '[{"name": "delays"}, {"name": "described", "topics": ["clicks"]}]'
    _, checks = check(
        capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", f"models={models}", "drift.enabled=true"
    )
    assert "; without reference statistics, so only its scores are counted for drift" in checks["models[0]"]["detail"]
    assert "drift" not in checks["models[1]"]["detail"]


def test_all_checks_pass(broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        f"kafka.bootstrap_servers={broker.bootstrap}",
        f"kafka.group_id={names('group')}",
        f"topics.prefix={names('')}",
        "model.name=delays",
    ]
    status, checks = check(capsys, *settings, timeout_s=20)
    assert status == 1
    assert checks["topics"]["status"] == "failed"
    assert (checks["input"]["status"], checks["output"]["status"]) == ("skipped", "skipped")

    kafka = KafkaSection(bootstrap_servers=broker.bootstrap)
    made = Settings(kafka=kafka, topics=TopicsSection(prefix=names("")))
    asyncio.run(create_topics(made))
    status, checks = check(capsys, *settings, timeout_s=20)
    assert (status, checks["topics"]["status"], checks["aggregator"]["status"]) == (0, "ok", "warning")
    assert "3 of 3 topics" in checks["aggregator"]["detail"]
    assert "run `forebay topics create`" in checks["aggregator"]["remedy"]

    asyncio.run(create_aggregator_topics(made, dry_run=False))
    status, checks = check(capsys, *settings, timeout_s=20)
    # The embedded broker does not report which operations are allowed.
    may = "ok" if broker.kind == "apache" else "unknown"
    assert statuses(checks) == {
        "configuration": "ok",
        "admin": "ok",
        "broker": "ok",
        "topics": "ok",
        "aggregator": "ok",
        "input": may,
        "output": may,
        "group": may,
        "transactions": "ok",
        "model": "ok",
    }, checks
    assert status == 0
    assert "delays version 1" in checks["model"]["detail"]

    for host, verdict in (("127.0.0.1", "all checks passed"), ("0.0.0.0", "1 of 10 checks have warnings")):
        given = [argument for setting in [*settings, f"admin.host={host}"] for argument in ("--set", setting)]
        assert main(["check", *given]) == 0
        out = capsys.readouterr().out
        assert verdict in out.splitlines()[-1]
        assert ("without a token" in out, "no token is set" in out) == ((True, False), (False, True))[host == "0.0.0.0"]


def test_the_topics_of_rollouts_are_checked_if_rollouts_are_enabled(
    broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = names("")
    made = Settings(kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=prefix))
    asyncio.run(create_topics(made))
    settings = [f"kafka.bootstrap_servers={broker.bootstrap}", f"topics.prefix={prefix}", "model.name=delays"]
    assert check(capsys, *settings, timeout_s=20)[1]["topics"]["status"] == "ok"

    settings.append("rollouts.enabled=true")
    status, checks = check(capsys, *settings, timeout_s=20)
    assert status == 1 and checks["topics"]["status"] == "failed"
    assert "forebay topics create" in checks["topics"]["remedy"]

    compacted = {"cleanup.policy": "compact", "retention.ms": "-1"}
    asyncio.run(create_topic(broker.bootstrap, f"{prefix}rollouts", configs=compacted))
    asyncio.run(create_topics(made.model_copy(update={"rollouts": RolloutsSection(enabled=True)})))
    status, checks = check(capsys, *settings, timeout_s=20)
    (problem,) = [text for text in checks["topics"]["problems"] if "rollouts" in text]
    assert status == 1 and problem.startswith(f"{prefix}rollouts: cleanup.policy is compact")
    assert f"--topic {prefix}rollouts --add-config cleanup.policy=delete" in checks["topics"]["remedy"]
    # The embedded broker does not report which operations are allowed.
    if broker.kind == "apache":
        assert f"{prefix}rollouts" in checks["input"]["detail"] and checks["input"]["status"] == "ok"


def test_each_printed_check_has_a_mark_and_a_hint(closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--set", f"kafka.bootstrap_servers=127.0.0.1:{closed_port}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "✓ configuration no file; 1 setting set, the others have their defaults"
    assert lines[1] == "✓ admin         127.0.0.1:8080, this machine only, without a token, plain HTTP"
    assert lines[2].startswith("✗ broker        cannot reach Kafka at")
    assert lines[3].strip().startswith("hint: check that the broker runs")
    assert lines[4].startswith("- topics ")
    assert lines[-1] == "2 of 10 checks failed"


def test_a_broker_that_is_too_old_is_reported(
    embedded_broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.stream.kafka.cluster.bootstrap._REQUIRED_VERSIONS", {9: 99})
    _, checks = check(capsys, f"kafka.bootstrap_servers={embedded_broker.bootstrap}", "model.name=delays")
    assert checks["broker"]["detail"] == f"{embedded_broker.bootstrap} is older than Kafka 2.5"
    assert {checks[name]["status"] for name in CLUSTER[1:]} == {"skipped"}


def test_unreachable_advertised_listeners_are_reported(
    embedded_broker: Broker,
    closed_port: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def elsewhere(*_: object) -> ClusterView:
        return ClusterView((("127.0.0.1", closed_port),), {})

    monkeypatch.setattr("forebay.stream.preflight.describe_cluster", elsewhere)
    _, checks = check(capsys, f"kafka.bootstrap_servers={embedded_broker.bootstrap}", "model.name=delays")
    assert checks["broker"]["status"] == "failed"
    assert checks["broker"]["problems"] == [f"cannot reach Kafka at 127.0.0.1:{closed_port}: nothing listens there"]
    assert "advertised.listeners" in checks["broker"]["remedy"]


def test_decisions_must_fit_the_model(capsys: pytest.CaptureFixture[str], closed_port: int) -> None:
    route = 'decision.routes=[{"topic": "high", "label": "fraud"}]'
    status, checks = check(capsys, "model.name=delays", route, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}")
    assert status == 1 and "decision.routes: the model has no class 'fraud'" in checks["model"]["detail"]


def test_windows_require_a_model_that_takes_windows(capsys: pytest.CaptureFixture[str], closed_port: int) -> None:
    windows = ("window.kind=session", "window.gap_ms=5000", f"kafka.bootstrap_servers=127.0.0.1:{closed_port}")
    status, checks = check(capsys, "model.name=delays", *windows)
    assert status == 1 and "the model delays takes single events" in checks["model"]["detail"]
    assert "set window.kind to none" in checks["model"]["remedy"]


def test_the_topics_of_the_evaluator_are_checked_if_it_is_enabled(
    broker: Broker, names: Names, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = names("")
    section = EvaluateSection(enabled=True)
    made = Settings(
        kafka=KafkaSection(bootstrap_servers=broker.bootstrap), topics=TopicsSection(prefix=prefix), evaluate=section
    )
    asyncio.run(create_topics(made))
    settings = [f"kafka.bootstrap_servers={broker.bootstrap}", f"topics.prefix={prefix}", "model.name=delays"]
    assert "evaluator" not in check(capsys, *settings, timeout_s=20)[1]
    settings.append("evaluate.enabled=true")
    status, checks = check(capsys, *settings, timeout_s=20)
    assert status == 1 and checks["evaluator"]["status"] == "failed"
    assert f"{prefix}labels: there is no such topic" in checks["evaluator"]["problems"][0]
    asyncio.run(create_evaluator_topics(made, dry_run=False))
    status, checks = check(capsys, *settings, timeout_s=20)
    assert (status, checks["evaluator"]["status"]) == (0, "ok")


def test_alert_rules_that_can_never_fire_are_warned_of(closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    rules: list[dict[str, object]] = [
        {"name": name, "category": "drift", "metric": "drift", "column": name} for name in ("clas", "class")
    ]
    rules += [{"name": "slice", "category": "quality", "metric": "accuracy", "below": 0.5, "slice": "carrier=*"}]
    settings = [
        "model.name=delays",
        "drift.enabled=true",
        "evaluate.enabled=true",
        f"aggregate.alerts={json.dumps(rules)}",
    ]
    _, checks = check(capsys, f"kafka.bootstrap_servers=127.0.0.1:{closed_port}", *settings)
    assert (checks["alerts"]["status"], checks["alerts"]["detail"]) == ("warning", "3 rules; these can never fire:")
    assert checks["alerts"]["problems"] == [
        "clas: column clas is not counted for delays; did you mean class?",
        "slice: slice carrier is not in evaluate.slices; there are none",
    ]
