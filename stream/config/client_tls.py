"""TLS of clients, of Kafka and of a schema registry alike: from files that settings name."""

from __future__ import annotations

import ssl
from typing import Protocol

from pydantic import SecretStr

from forebay.schemas.errors import ConfigError


class TlsFiles(Protocol):
    """The settings of a section with TLS."""

    @property
    def ssl_cafile(self) -> str | None: ...
    @property
    def ssl_certfile(self) -> str | None: ...
    @property
    def ssl_keyfile(self) -> str | None: ...
    @property
    def ssl_password(self) -> SecretStr | None: ...
    @property
    def ssl_check_hostname(self) -> bool: ...


def client_tls_context(files: TlsFiles, *, section: str) -> ssl.SSLContext:
    """Return a new TLS context of a client. Raises ConfigError if a file cannot be used.

    section: name of the section, for messages.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=files.ssl_cafile)
    except (OSError, ValueError) as error:
        raise _unusable(section, "ssl_cafile", files.ssl_cafile, error, wanted="certificates in PEM") from None
    context.check_hostname = files.ssl_check_hostname
    if files.ssl_certfile is not None:
        # A function, because with None OpenSSL would prompt for the password on the terminal.
        password = files.ssl_password.get_secret_value() if files.ssl_password else ""
        try:
            context.load_cert_chain(files.ssl_certfile, files.ssl_keyfile, password=lambda: password)
        except (OSError, ValueError) as error:
            key, path = (
                ("ssl_keyfile", files.ssl_keyfile) if files.ssl_keyfile else ("ssl_certfile", files.ssl_certfile)
            )
            wanted = "the key, in PEM, of the certificate in ssl_certfile, and ssl_password its password"
            raise _unusable(section, key, path, error, wanted=wanted) from None
    return context


def _unusable(section: str, key: str, path: str | None, error: Exception, *, wanted: str) -> ConfigError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return ConfigError(f"{section}.{key}: {path} cannot be used: {reason}", remedy=f"it must hold {wanted}")
