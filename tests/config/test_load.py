"""Settings from file, environment and command line: precedence, origins, and all errors reported together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from forebay.schemas.errors import ConfigError
from forebay.stream.config.load import load_settings
from forebay.stream.config.sections import Settings


def write(folder: Path, text: str) -> Path:
    path = folder / "forebay.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(
    path: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ or {}, overrides or {})
    return list(caught.value.problems)


def test_settings_without_sources_are_the_defaults() -> None:
    loaded = load_settings(None, {"PATH": "/bin", "HOME": "/"})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_later_sources_override_earlier_ones_and_are_the_origin(tmp_path: Path) -> None:
    path = write(
        tmp_path, "# one\n[batch]\nmax_batch_size = 1\nmax_queue_delay_ms = 2\n\nmax_batch_bytes = 2_000_000\n"
    )
    environ = {"FOREBAY_BATCH__MAX_BATCH_SIZE": "10", "FOREBAY_BATCH__MAX_QUEUE_DELAY_MS": "20"}
    loaded = load_settings(path, environ, {"batch.max_batch_size": "100"})
    batch = loaded.settings.batch
    assert (batch.max_batch_size, batch.max_queue_delay_ms, batch.max_batch_bytes) == (100, 20, 2_000_000)
    assert loaded.origins["batch.max_batch_size"] == "command line"
    assert loaded.origins["batch.max_queue_delay_ms"] == "environment FOREBAY_BATCH__MAX_QUEUE_DELAY_MS"
    assert loaded.origins["batch.max_batch_bytes"] == f"{path}:6"
    assert loaded.origins["log.level"] == "default"


def test_all_errors_are_reported_together_with_value_and_allowed_values(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[batch]\nmax_batch_size = 0\nmax_queue_delay_ms = "5"\n[log]\nlevel = "loud"\n[modle]\nname = "x"\n'
        "[limits]\nmax_in_flight_events = 10\n",
    )
    report = problems(path, {"FOREBAY_MODEL__VERSION": "new"}, {"kafka.heartbeat_interval_ms": 29_000})
    # batch.max_batch_size is invalid, so it is not also reported that max_in_flight_events is below it.
    assert report == [
        f"modle ({path}:6): unknown section; did you mean [model]?",
        f"batch.max_batch_size = 0 ({path}:2): must be a whole number from 1 to 65536",
        f'batch.max_queue_delay_ms = "5" ({path}:3): must be a whole number from 0 to 60000',
        'model.version = "new" (environment FOREBAY_MODEL__VERSION): must be a whole number from 1 to 999999999',
        f'log.level = "loud" ({path}:5): must be "debug", "info", "warning" or "error", '
        "or a list with levels for loggers, such as \"info,forebay.commit=debug\" ('loud' is not a level)",
        "kafka.heartbeat_interval_ms = 29000 (command line): must be less than half of kafka.session_timeout_ms "
        "(30000); a tenth is recommended",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[kafka]\ngroup = 'x'", "kafka.group ({}:2): unknown key; did you mean group_id?"),
        ("[batch]\ntopics = []", "batch.topics ({}:2): unknown key; topics belongs to [input]"),
        ("group_id = 'x'", "group_id ({}:1): unknown key; group_id belongs to [kafka]"),
        ("[zzz]\nqqq = 1", "zzz ({}:1): unknown section"),
        ("kafka = 1", "kafka ({}:1): must be a section: write [kafka], with its keys below"),
        ("[[kafka]]\ngroup_id = 'x'", "kafka ({}:1): must be a section: write [kafka], with its keys below"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest(tmp_path: Path, text: str, hint: str) -> None:
    path = write(tmp_path, text)
    assert problems(path) == [hint.format(path)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("FOREBAY_KAFKA_BOOTSTRAP_SERVERS", "; did you mean FOREBAY_KAFKA__BOOTSTRAP_SERVERS?"),
        ("FOREBAY_BATHC__MAX_BATCH_SIZE", "; did you mean FOREBAY_BATCH__MAX_BATCH_SIZE?"),
        ("FOREBAY_LOG__LEVLE", "; did you mean FOREBAY_LOG__LEVEL?"),
        ("FOREBAY_log__level", "; did you mean FOREBAY_LOG__LEVEL?"),
        ("FOREBAY_ZZZ__QQQ", ""),
    ],
)
def test_an_unknown_variable_gets_the_nearest(name: str, hint: str) -> None:
    assert problems(environ={name: "hunter2"}) == [f"{name} (environment): unknown setting{hint}"]


@pytest.mark.parametrize(
    "name",
    # The first belongs to Forebay but is not a setting, the second is used by tests, and Kubernetes sets the others in pods.
    [
        "FOREBAY_CONFIG",
        "FOREBAY_TEST_BOOTSTRAP",
        "FOREBAY_PORT",
        "FOREBAY_SERVICE_HOST",
        "FOREBAY_PORT_9092_TCP_ADDR",
        "FOREBAY_KAFKA_SERVICE_HOST",
        "FOREBAY_MODEL_PORT",
    ],
)
def test_other_variables_are_ignored(name: str) -> None:
    assert load_settings(None, {name: "tcp://10.0.0.1:80"}).settings == Settings()


def test_the_command_line_names_unknown_settings() -> None:
    assert problems(overrides={"model.devise": "cpu"}) == [
        "model.devise (command line): unknown setting; did you mean device?"
    ]


def test_types_in_toml_are_not_converted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[batch]\nmax_batch_size = true\nmax_queue_delay_ms = 5.0\n[kafka]\nssl_check_hostname = 'false'\nclient_id = 7\n",
    )
    assert [problem.split(" = ")[0] for problem in problems(path)] == [
        "kafka.client_id",
        "kafka.ssl_check_hostname",
        "batch.max_batch_size",
        "batch.max_queue_delay_ms",
    ]


@pytest.mark.parametrize("text", ["a,b", " a , b "])
def test_topics_in_the_environment_are_separated_by_commas(text: str) -> None:
    assert load_settings(None, {"FOREBAY_INPUT__TOPICS": text}).settings.input.topics == ("a", "b")


def test_topics_from_the_file_are_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, '[input]\ntopics = ["a", "b"]\n')
    assert load_settings(path, {}).settings.input.topics == ("a", "b")


@pytest.mark.parametrize("given", ["", "a,a", "a,,b", "a b", "ü", "..", "x" * 250])
def test_invalid_topics(given: str) -> None:
    assert "must be a list of different topic names" in problems(environ={"FOREBAY_INPUT__TOPICS": given})[0]


def test_empty_text_unsets_optional_settings(tmp_path: Path) -> None:
    path = write(tmp_path, '[kafka]\ngroup_instance_id = "pod-0"\n[model]\nversion = 3\n')
    environ = {"FOREBAY_KAFKA__GROUP_INSTANCE_ID": "", "FOREBAY_MODEL__VERSION": ""}
    settings = load_settings(path, environ).settings
    assert settings.kafka.group_instance_id is None
    assert settings.model.version is None


def test_an_empty_token_is_an_error_in_every_source(tmp_path: Path) -> None:
    path = write(tmp_path, '[admin]\ntoken = ""\n')
    for report in (
        problems(environ={"FOREBAY_ADMIN__TOKEN": ""}),
        problems(path),
        problems(None, {}, {"admin.token": ""}),
        problems(path, {"FOREBAY_ADMIN__TOKEN": ""}),
    ):
        (problem,) = report
        assert problem.startswith("admin.token")
        assert problem.endswith("must be a non-empty token; to use no token, leave the setting out")


@pytest.mark.parametrize(
    "line",
    [
        "from_timestamp = 1769860800000",
        'from_timestamp = "2026-01-31T12:00:00Z"',
        'from_timestamp = "2026-01-31T13:00:00+01:00"',
        "from_timestamp = 2026-01-31T12:00:00Z",
    ],
)
def test_all_forms_of_a_time_become_milliseconds(tmp_path: Path, line: str) -> None:
    assert load_settings(write(tmp_path, f"[input]\n{line}\n"), {}).settings.input.from_timestamp == 1_769_860_800_000


@pytest.mark.parametrize("text", ["1769860800000", "2026-01-31T12:00:00Z"])
def test_a_time_from_the_environment(text: str) -> None:
    settings = load_settings(None, {"FOREBAY_INPUT__FROM_TIMESTAMP": text}).settings
    assert settings.input.from_timestamp == 1_769_860_800_000


def test_a_time_without_an_offset_is_refused() -> None:
    (problem,) = problems(environ={"FOREBAY_INPUT__FROM_TIMESTAMP": "2026-01-31T12:00:00"})
    assert "it has no offset from UTC" in problem


@pytest.mark.parametrize(
    ("servers", "kept"),
    [("kafka", "kafka"), ("a:1, b:2", "a:1,b:2"), ("[::1]:9092", "[::1]:9092"), ("10.0.0.1:65535", "10.0.0.1:65535")],
)
def test_servers(servers: str, kept: str) -> None:
    settings = load_settings(None, {"FOREBAY_KAFKA__BOOTSTRAP_SERVERS": servers}).settings
    assert settings.kafka.bootstrap_servers == kept


@pytest.mark.parametrize("servers", ["", "a:0", "a:65536", "a:b", "a:1,", "http://a:1", "a b:1", "::1"])
def test_invalid_servers(servers: str) -> None:
    (problem,) = problems(environ={"FOREBAY_KAFKA__BOOTSTRAP_SERVERS": servers})
    assert "must be host:port" in problem


def test_errors_contain_no_secrets(tmp_path: Path) -> None:
    path = write(tmp_path, '[kafka]\nsasl_pasword = "hunter2"\nssl_password = ["hunter2"]\n')
    environ = {"FOREBAY_KAFKA__SASL_PASSWORD": "hunter2", "FOREBAY_KAFKA_SASL_PASSWORD": "hunter2"}
    report = problems(path, environ, {"kafka.sasl_passwrd": "hunter2"})
    assert len(report) == 5  # three unknown names, one value of the wrong type, one unused password
    assert "hunter2" not in "".join(report)
    assert any("kafka.sasl_password = (hidden)" in problem for problem in report)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[kafka\n", ":1:7: "),
        ("[batch]\n\nmax_batch_size = = 3\n", ":3:18: "),
        ("[batch]\nmax_batch_size = 3\nmax_batch_size = 4\n", ":3:"),
        ('a = "', ":1:6: "),
    ],
)
def test_malformed_toml_is_reported_with_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert caught.value.kind == "config_syntax"
    assert f"{path}{place}" in caught.value.message


def test_a_file_that_is_missing_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file does not exist") as caught:
        load_settings(tmp_path / "none.toml", {})
    assert caught.value.remedy is not None and "forebay init" in caught.value.remedy
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"[kafka]\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml:2: not UTF-8"):
        load_settings(binary, {})
    binary.write_bytes(b"#" * 1_048_577)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_settings(binary, {})


def test_deep_nesting_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_settings(write(tmp_path, "[input]\ntopics = " + "[" * 20_000), {})


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf[batch]\nmax_batch_size = 9\n")
    assert load_settings(path, {}).settings.batch.max_batch_size == 9


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('x = """\n[batch]\nmax_batch_size = 1\n"""\n', None),
        ("batch.max_batch_size = 7\n", 1),
        ("[ 'batch' ] # a comment\n\n  \"max_batch_size\"=7\n", 3),
        ("batch = { max_batch_size = 7 }\n", 1),
    ],
)
def test_lines_of_keys(tmp_path: Path, text: str, line: int | None) -> None:
    path = write(tmp_path, text)
    if line is None:
        assert problems(path) == [f"x ({path}:1): unknown key"]
    else:
        assert load_settings(path, {}).origins["batch.max_batch_size"] == f"{path}:{line}"


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("1", 1.0), ("1e-3", 0.001)])
def test_a_number_with_a_fraction_from_the_environment(text: str, value: float) -> None:
    settings = load_settings(None, {"FOREBAY_LIMITS__MAX_DEAD_LETTER_RATIO": text}).settings
    assert settings.limits.max_dead_letter_ratio == value


@pytest.mark.parametrize("text", ["0", "1.5", "nan", "inf", "half"])
def test_invalid_numbers(text: str) -> None:
    (problem,) = problems(environ={"FOREBAY_LIMITS__MAX_DEAD_LETTER_RATIO": text})
    assert problem.endswith(
        "(environment FOREBAY_LIMITS__MAX_DEAD_LETTER_RATIO): must be a number above 0 and at most 1"
    )
