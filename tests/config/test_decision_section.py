"""The settings of the decision layer: where each mistake is reported, and which topics they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings
from forebay.stream.kafka.cluster.acls import Role, required_acls
from forebay.stream.kafka.cluster.topic_plan import plan_topics


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "forebay.toml"
    path.write_text(text)
    return load_settings(path, {}).settings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("threshold = 1.0", "decision.threshold = 1.0 (FILE:2): must be a number above 0 and below 1"),
        ("review_from = 0.4", "decision.review_to = (not set) (default): must be set with decision.review_from"),
        ("review_to = 0.4", "decision.review_from = (not set) (default): must be set with decision.review_to"),
        (
            "review_from = 0.6\nreview_to = 0.4",
            "decision.review_from = 0.6 (FILE:2): must be at most decision.review_to (0.4)",
        ),
        ("routes = 3", "decision.routes = 3 (FILE:2): must be a list of at most 32 tables"),
        (
            "[[decision.routes]]\ntopic = 'high'",
            "decision.routes, route 1 (FILE:2): must have label, min_confidence or both",
        ),
        (
            "routes = [{topic = 'predictions', label = 1}]",
            "decision.routes, route 1 (FILE:2): must name another topic than predictions",
        ),
        (
            "routes = [{topic = 'a', label = 1}, {topic = 'b', class = 1}]",
            "decision.routes, route 2, class (FILE:2): unknown key; the keys are topic, label, min_confidence",
        ),
        (
            "[[decision.routes]]\ntopic = 'a'\nmin_confidence = 2",
            "decision.routes, route 1, min_confidence = 2 (FILE:4): must be a number from 0 to 1",
        ),
        (
            "routes = [{topic = 'alerts', label = 1}]",
            "decision.routes = [{'topic': 'alerts', 'label': 1}] (FILE:2): must not contain the topic 'alerts': Forebay uses",
        ),
        ("routes = [{topic = 'features', label = 1}]", "must not contain the topic 'features': it is an input topic"),
        (
            "[[decision.segments]]\nfeature = 'a'\nvalue = 'x'",
            "decision.segments, segment 1, threshold (FILE:2): is missing; it must be a number above 0 and below 1",
        ),
    ],
)
def test_each_mistake_is_reported_with_its_place_and_what_is_allowed(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f"[decision]\n{text}")
    (found,) = refused.value.problems
    assert problem in found.replace(str(tmp_path / "forebay.toml"), "FILE")


def test_a_section_beside_several_models_is_refused_and_belongs_to_one_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 error") as refused:
        load(tmp_path, "decision.threshold = 0.4\n[[models]]\nname = 'a'")
    assert "move it to [models.decision] below its model" in refused.value.problems[0]
    settings = load(tmp_path, "[[models]]\nname = 'a'\n[[models]]\nname = 'b'\ndecision.threshold = 0.4")
    assert [served.decision.threshold for served in settings.models_to_serve()] == [None, 0.4]


def test_topics_and_permissions_are_needed_only_for_what_is_configured(tmp_path: Path) -> None:
    def topics(text: str) -> tuple[set[str], set[str], tuple[str, ...]]:
        settings = load(tmp_path, f"topics.prefix = 'x-'\n{text}")
        written = {acl.name for acl in required_acls(Role.WORKER, settings) if acl.operation == "WRITE"}
        return {topic.name for topic in plan_topics(settings)}, written, settings.prediction_topics()

    plain, plain_written, plain_predictions = topics("decision.threshold = 0.4")
    assert plain == {"x-features", "x-predictions", "x-dead-letters", "x-outcome-deltas"}
    assert plain_predictions == ("x-predictions",)
    routes = "decision.routes = [{topic = 'high', label = 1}, {topic = 'high', label = 0, min_confidence = 0.9}]\n"
    planned, written, predictions = topics(f"{routes}decision.min_confidence = 0.6")
    assert planned - plain == written - plain_written == {"x-review", "x-high"}
    assert predictions == ("x-predictions", "x-high")
