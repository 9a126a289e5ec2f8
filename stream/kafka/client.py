"""Options of all Kafka clients: bootstrap servers and authentication."""

from __future__ import annotations

import ssl
from importlib.util import find_spec

from pydantic import SecretStr

from forebay.schemas.errors import ConfigError
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
        options["ssl_context"] = _ssl_context(kafka)
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


def _ssl_context(kafka: KafkaSection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=kafka.ssl_cafile)
    except (OSError, ValueError) as error:
        raise _unusable("ssl_cafile", kafka.ssl_cafile, error, "certificates in PEM") from None
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile is not None:
        # A function, because with None OpenSSL would prompt for the password on the terminal.
        password = _plain(kafka.ssl_password) or ""
        try:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password=lambda: password)
        except (OSError, ValueError) as error:
            key, path = (
                ("ssl_keyfile", kafka.ssl_keyfile) if kafka.ssl_keyfile else ("ssl_certfile", kafka.ssl_certfile)
            )
            raise _unusable(
                key, path, error, "the key, in PEM, of the certificate in ssl_certfile, and ssl_password its password"
            ) from None
    return context


def _unusable(key: str, path: str | None, error: Exception, wanted: str) -> ConfigError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return ConfigError(f"kafka.{key}: {path} cannot be used: {reason}", remedy=f"it must hold {wanted}")


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
