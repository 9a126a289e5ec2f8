"""The settings of children, and the errors that they leave."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from forebay.schemas.errors import BrokerError, ConfigError, ForebayError, ModelError, TensorError
from forebay.stream.config.sections import AdminSection, DeliverySection, KafkaSection, Settings
from forebay.stream.supervisor.child import Ending, make_folder
from forebay.stream.supervisor.child_errors import take_error, write_error
from forebay.stream.supervisor.child_settings import name_instance, settings_of_child


def test_each_child_has_names_of_its_own_that_a_restart_does_not_change() -> None:
    settings = Settings(delivery=DeliverySection(instance_id="pod-1"))
    assert name_instance(settings) == "pod-1"
    child = settings_of_child(settings, 2, instance="pod-1", url="http://10.0.0.1:8080")
    assert child.delivery.instance_id == child.kafka.group_instance_id == "pod-1-2"
    assert child.admin.advertised_url == "http://10.0.0.1:8080/processes/2"
    assert name_instance(Settings()) != name_instance(Settings())


def test_a_configured_static_member_is_divided() -> None:
    settings = Settings(kafka=KafkaSection(group_instance_id="ns.pod-1"))
    child = settings_of_child(settings, 0, instance="i", url=None)
    assert (child.kafka.group_instance_id, child.delivery.instance_id) == ("ns.pod-1-0", "i-0")
    assert child.admin.advertised_url is None


def test_the_supervisor_protects_the_api_of_its_children() -> None:
    admin = AdminSection(enabled=False, token=SecretStr("secret"), tls_cert_file="cert.pem", max_body_bytes=2048)
    child = settings_of_child(Settings(admin=admin), 0, instance="i", url=None)
    assert (child.admin.enabled, child.admin.token, child.admin.tls_cert_file) == (True, None, None)
    assert child.admin.max_body_bytes == 2048


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("wrong", problems=["a: must be b"], kind="x", remedy="change it"), ConfigError),
        (BrokerError("away", kind="unreachable"), BrokerError),
        (TensorError("shape"), ModelError),
        (ForebayError("other", remedy="r"), ForebayError),
    ],
)
def test_an_error_survives_the_file(tmp_path: Path, error: ForebayError, kind: type[ForebayError]) -> None:
    path = tmp_path / "0.error"
    write_error(path, error)
    taken = take_error(path)
    assert type(taken) is kind
    assert (taken.message, taken.kind, taken.remedy) == (error.message, error.kind, error.remedy)
    if isinstance(error, ConfigError):
        assert isinstance(taken, ConfigError)
        assert taken.problems == error.problems
    assert take_error(path) is None


def test_a_damaged_error_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "0.error").write_bytes(b"{")
    assert take_error(tmp_path / "0.error") is None


def test_the_folder_is_private() -> None:
    # The name of tmp_path may be too long.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        assert make_folder(Path(folder)).stat().st_mode & 0o777 == 0o700


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long a name"):
        make_folder(tmp_path / ("x" * 100))


def test_members_leave_their_group_only_when_everything_ends() -> None:
    ending = Ending(leaves_at_end=True)
    assert not ending.leaves_group()
    ending.begin()
    assert ending.leaves_group()
    configured = Ending(leaves_at_end=False)
    configured.begin()
    assert not configured.leaves_group()
