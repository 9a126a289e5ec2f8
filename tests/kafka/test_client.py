"""The arguments of aiokafka for each way to log in."""

from __future__ import annotations

import inspect
import ssl
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import KafkaSection
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.oauth import CommandTokenProvider
from tests.brokers.secure import CERTIFICATES

CA, CERT, KEY = (str(CERTIFICATES / name) for name in ("ca.pem", "client.pem", "client-key.pem"))


def test_plaintext_has_neither_tls_nor_sasl_options() -> None:
    assert client_options(KafkaSection(bootstrap_servers="a:1,b:2", client_id="me", request_timeout_ms=1234)) == {
        "bootstrap_servers": "a:1,b:2",
        "client_id": "me",
        "request_timeout_ms": 1234,
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_the_client_gets_passwords_in_plain_text(mechanism: str) -> None:
    section = KafkaSection.model_validate(
        {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "sasl_username": "me",
            "sasl_password": "hunter2",
        }
    )
    options = client_options(section)
    assert options["sasl_mechanism"] == mechanism
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"] == "hunter2"
    assert "ssl_context" not in options
    assert "hunter2" not in repr(section)


async def test_every_client_accepts_every_option() -> None:
    sections = [
        KafkaSection(security_protocol="SSL"),
        KafkaSection(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="me"),
        KafkaSection(
            security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", sasl_oauth_token_command="get-token"
        ),
    ]
    for client in (AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient):
        known = set(inspect.signature(client.__init__).parameters)
        for section in sections:
            assert set(client_options(section)) <= known


def test_the_token_command_becomes_a_provider() -> None:
    section = KafkaSection(
        security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_oauth_token_command="get-token"
    )
    assert isinstance(client_options(section)["sasl_oauth_token_provider"], CommandTokenProvider)


def test_kerberos_without_its_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.stream.kafka.client.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="gssapi"):
        client_options(KafkaSection(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI"))


def test_kerberos_with_its_library_has_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.stream.kafka.client.find_spec", lambda name: object())
    section = KafkaSection(security_protocol="SASL_SSL", sasl_mechanism="GSSAPI", sasl_kerberos_domain_name="example")
    options = client_options(section)
    assert options["sasl_kerberos_service_name"] == "kafka"
    assert options["sasl_kerberos_domain_name"] == "example"


def tls_context(section: KafkaSection) -> ssl.SSLContext:
    context = client_options(section)["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    return context


def test_tls_verifies_certificate_and_host_by_default() -> None:
    context = tls_context(KafkaSection(security_protocol="SSL", ssl_cafile=CA))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_only_the_host_check_can_be_turned_off() -> None:
    context = tls_context(KafkaSection(security_protocol="SSL", ssl_cafile=CA, ssl_check_hostname=False))
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def mutual(password: str | None, cert: str = CERT, key: str | None = KEY) -> KafkaSection:
    return KafkaSection(
        security_protocol="SSL",
        ssl_cafile=CA,
        ssl_certfile=cert,
        ssl_keyfile=key,
        ssl_password=None if password is None else SecretStr(password),
    )


def test_mutual_tls_decrypts_the_key_with_its_password() -> None:
    assert isinstance(tls_context(mutual("hunter2")), ssl.SSLContext)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_wrong_password_is_an_error_without_a_prompt(password: str | None) -> None:
    # Without a password OpenSSL would ask at the terminal, and wait.
    with pytest.raises(ConfigError, match=r"kafka\.ssl_keyfile: .*client-key\.pem cannot be used") as caught:
        client_options(mutual(password))
    assert "wrong" not in caught.value.message


def test_files_with_other_content_are_named_in_the_error(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with pytest.raises(ConfigError, match=r"kafka\.ssl_cafile: .*junk\.pem cannot be used"):
        client_options(KafkaSection(security_protocol="SSL", ssl_cafile=str(junk)))
    with pytest.raises(ConfigError, match=r"kafka\.ssl_certfile: .*junk\.pem cannot be used"):
        client_options(mutual("hunter2", cert=str(junk), key=None))
