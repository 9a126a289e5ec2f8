"""Options of all Kafka clients: bootstrap servers and authentication."""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import SecretStr

from forebay.schemas.errors import ConfigError
from forebay.stream.config.client_tls import client_tls_context
from forebay.stream.config.sections import KafkaSection


def client_options(kafka: KafkaSection) -> dict[str, object]:
    """Return the keyword arguments that aiokafka's consumer, producer and admin client have in common.

    Reads the TLS files. The result of each call has its own token and TLS context. Raises ConfigError if a file is invalid or a
    library for the SASL mechanism is missing.
    """
    options: dict[str, object] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = client_tls_context(kafka, section="kafka")
    if kafka.security_protocol.startswith("SASL_"):
        options.update(_sasl_options(kafka))
    return options


def _sasl_options(kafka: KafkaSection) -> dict[str, object]:
    options: dict[str, object] = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        # Imported only here, because it imports aiokafka.
        from forebay.stream.kafka.oauth import CommandTokenProvider

        if kafka.sasl_oauth_token_command is None:
            raise ConfigError("kafka.sasl_oauth_token_command must be set with kafka.sasl_mechanism OAUTHBEARER")
        options["sasl_oauth_token_provider"] = CommandTokenProvider(
            kafka.sasl_oauth_token_command, timeout_ms=kafka.sasl_oauth_token_timeout_ms
        )
    elif kafka.sasl_mechanism == "GSSAPI":
        if find_spec("gssapi") is None:
            raise ConfigError(
                "kafka.sasl_mechanism GSSAPI needs the Python package gssapi, which is not installed",
                remedy="pip install gssapi (it needs the system's Kerberos libraries)",
            )
        options["sasl_kerberos_service_name"] = kafka.sasl_kerberos_service_name
        options["sasl_kerberos_domain_name"] = kafka.sasl_kerberos_domain_name
    else:
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = _plain(kafka.sasl_password)
    return options


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
