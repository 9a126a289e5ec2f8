"""Requests to a schema registry: several URLs in turn, limited in time and size, errors by their meaning."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from forebay.stream.config.redaction import without_login
from forebay.stream.schema_registry.errors import (
    RegistryDenied,
    RegistryError,
    RegistryUnavailable,
    SchemaIncompatible,
    SchemaInvalid,
    SchemaNotFound,
)

log = logging.getLogger("forebay.schema_registry")

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_SHOWN_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of a response, of at most the size that is allowed."""

    status: int
    body: bytes
    location: str | None = None


class TooLarge(Exception):
    """A response is larger than allowed."""


class RegistryHttp:
    """Sends requests to the URLs of a registry, beginning with the one that answered last.

    session: has the credentials and the TLS context. It stays the caller's to close.
    urls: at least one.
    """

    def __init__(
        self, session: aiohttp.ClientSession, urls: Sequence[str], *, timeout_s: float, max_response_bytes: int
    ) -> None:
        if not urls:
            raise ValueError("no URL of a schema registry")
        self._session = session
        self._urls = [url.rstrip("/") for url in urls]
        self._timeout_s = timeout_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_response_bytes = max_response_bytes

    @property
    def shown_urls(self) -> str:
        """The URLs in words, without credentials."""
        return ", ".join(map(without_login, self._urls))

    async def request(
        self, method: str, path: str, *, body: Mapping[str, object] | None = None, subject: str | None = None
    ) -> Any:
        """Return the parsed answer of the first URL that answers. Raises RegistryError.

        path: percent-encoded, without a slash at the beginning.
        subject: what the request is about, for messages.
        """
        failures: list[str] = []
        for url in list(self._urls):
            try:
                answer = await self._send(method, f"{url}/{path}", body)
            except TooLarge:
                raise SchemaInvalid(
                    f"the answer of the schema registry at {without_login(url)} to {method} /{path} is larger than "
                    f"{self._max_response_bytes:,} bytes",
                    remedy="check the schema, or raise schema_registry.max_response_bytes",
                ) from None
            except TimeoutError:
                failures.append(f"{without_login(url)}: no answer within {self._timeout_s:g} s")
            except (OSError, aiohttp.ClientError, ValueError) as error:
                failures.append(f"{without_login(url)}: {_reason(error)}")
            else:
                foreign = _foreign(answer)
                if answer.status not in _TEMPORARY and foreign is None:
                    self._prefer(url)
                    return _read(answer, method=method, path=path, url=without_login(url), subject=subject)
                failures.append(f"{without_login(url)}: {foreign or _status(answer)}")
        raise RegistryUnavailable(
            f"the schema registry does not answer ({'; '.join(failures)})",
            remedy="check whether the registry runs, and schema_registry.urls: the base URL of Confluent's API; "
            "Apicurio's ends with /apis/ccompat/v7",
        )

    async def _send(self, method: str, url: str, body: Mapping[str, object] | None) -> Answer:
        """Send a request. Raises TooLarge, TimeoutError, OSError, aiohttp.ClientError, ValueError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": f"{CONTENT_TYPE}, application/json", "Accept-Encoding": "identity"}
        if data is not None:
            headers["Content-Type"] = CONTENT_TYPE
        # Credentials must not follow a redirection to another host.
        async with self._session.request(
            method, url, data=data, headers=headers, timeout=self._timeout, allow_redirects=False
        ) as response:
            content = bytearray()
            async for part in response.content.iter_chunked(65_536):
                content += part
                if len(content) > self._max_response_bytes:
                    raise TooLarge
            return Answer(response.status, bytes(content), response.headers.get("Location"))

    def _prefer(self, url: str) -> None:
        if self._urls[0] != url:
            log.info("the schema registry answers at %s", without_login(url))
            self._urls.remove(url)
            self._urls.insert(0, url)


def _foreign(answer: Answer) -> str | None:
    """Return in words why an answer is not one of a registry, but of a proxy or another server; None if it is one.

    It must not count as the registry's word that something does not exist.
    """
    if 200 <= answer.status < 300:
        try:
            json.loads(answer.body)
        except (ValueError, RecursionError):
            return f"does not answer in JSON: {_excerpt(answer.body)!r}"
    if 300 <= answer.status < 400:
        return f"redirects to {without_login(answer.location or '')}; set the URL that answers itself"
    if answer.status == 404 and not _is_missing(answer):
        return f"does not answer as a schema registry: {_status(answer)}"
    return None


def _is_missing(answer: Answer) -> bool:
    """Return whether the registry says that a subject, a version or a schema does not exist: 40401, 40402, 40403."""
    try:
        code = json.loads(answer.body)["error_code"]
    except (ValueError, RecursionError, TypeError, LookupError):
        return False
    return isinstance(code, int) and code // 100 == 404


def _read(answer: Answer, *, method: str, path: str, url: str, subject: str | None) -> Any:
    """Return the parsed body of a successful answer. Raises RegistryError."""
    if 200 <= answer.status < 300:
        return json.loads(answer.body)
    raise _error(answer, subject or f"{method} /{path}", url)


def _error(answer: Answer, about: str, url: str) -> RegistryError:
    """Return what a status other than 2xx means."""
    status, words = answer.status, _status(answer)
    if status == 401:
        return RegistryDenied(
            f"the schema registry at {url} refuses the credentials for {about}: {words}",
            remedy="check schema_registry.username and password, bearer_token, or the client certificate",
        )
    if status == 403:
        return RegistryDenied(
            f"the schema registry at {url} denies {about}: {words}",
            remedy="give this user the right to read the subject; registering needs the right to write it",
        )
    if status == 404:
        return SchemaNotFound(
            f"the schema registry at {url} does not have {about}: {words}",
            remedy="check the name, and that the producers use the same registry",
        )
    if status == 409:
        return SchemaIncompatible(
            f"the schema registry at {url} refuses {about}: {words}",
            remedy="change the schema, or the compatibility level of the subject",
        )
    return SchemaInvalid(f"the schema registry at {url} refuses {about}: {words}")


def _status(answer: Answer) -> str:
    """Return the status, with the registry's own code and message if there are any."""
    try:
        document = json.loads(answer.body)
        code, message = document["error_code"], str(document["message"])
    except (ValueError, RecursionError, TypeError, LookupError):
        return f"status {answer.status}" + (f": {_excerpt(answer.body)}" if answer.body else "")
    shown = f"status {answer.status}" if code == answer.status else f"status {answer.status}, error {code}"
    return f"{shown}: {_printable(message)}"


def _excerpt(body: bytes) -> str:
    return _printable(body[:80].decode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_SHOWN_CHARS])


def _reason(error: Exception) -> str:
    # The message of an InvalidURL contains the URL, which may hold credentials.
    text = "" if isinstance(error, aiohttp.InvalidURL) else str(error)
    return _printable(text) or type(error).__name__
