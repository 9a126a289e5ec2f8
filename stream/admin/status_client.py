"""A client that fetches the status of several workers concurrently, each with a short timeout.

Any member of the group may announce any address. So the token is sent only where it can be neither intercepted nor harvested:
to a server with the workers' own certificate, to a name in `admin.allowed_hosts` that a trusted authority certifies, or to
this machine's loopback. It is sent elsewhere only if the user asks for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp
from yarl import URL

from forebay.schemas.errors import ConfigError
from forebay.stream.admin.group_status import StatusResponse
from forebay.stream.admin.hosts import AllowedHosts, is_loopback, normal_host
from forebay.stream.admin.worker_status import decode_status
from forebay.stream.config.sections import AdminSection

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 4_000_000

_TOKEN_WITHHELD: Final = {
    "http": "admin.token is not sent over http:// to another machine: use TLS, or --token-over-http",
    "https": "admin.token is not sent to a host that is not in admin.allowed_hosts: add it there, or set admin.tls_cert_file",
}


class StatusClient:
    """Fetches `/status` with the token and the certificates of the section.

    token_over_http: also send the token to other machines over plain http://.
    """

    def __init__(self, section: AdminSection, session: aiohttp.ClientSession, *, token_over_http: bool) -> None:
        self._token = section.token.get_secret_value() if section.token else None
        self._token_over_http = token_over_http
        self._session = session
        self._own_trust, self._system_trust = _own_trust(section), ssl.create_default_context()
        self._hosts = AllowedHosts([section.host, *section.allowed_hosts])
        if section.advertised_url is not None:
            self._hosts.add(URL(section.advertised_url).host or "")

    async def fetch(self, url: str) -> StatusResponse:
        """Return the status, or the reason why there is none. Never raises because of the server's behaviour."""
        try:
            target = URL(url) / "status"
        except ValueError:
            return StatusResponse(None, "its address is not a valid URL")
        for trust in (self._own_trust, self._system_trust):
            if trust is None:
                continue
            try:
                return await self._get(target, trust)
            except TimeoutError:
                return StatusResponse(None, f"no answer within {TIMEOUT_S:g} s")
            except aiohttp.ClientConnectorCertificateError:
                continue
            except aiohttp.ClientConnectorError as error:
                return StatusResponse(None, _reason_of(error.os_error))
            except (aiohttp.ClientError, ValueError) as error:
                return StatusResponse(None, str(error)[:200] or type(error).__name__)
        return StatusResponse(None, "its certificate is not trusted (admin.tls_cert_file)")

    def _may_have_token(self, url: URL, trust: ssl.SSLContext) -> bool:
        host = normal_host(url.host or "")
        if is_loopback(host):
            return True
        if url.scheme == "http":
            return self._token_over_http
        # An authority certifies any name for its owner, so the configuration has to say which names are right.
        return trust is self._own_trust or self._hosts.names(host)

    async def _get(self, url: URL, trust: ssl.SSLContext) -> StatusResponse:
        token = self._token if self._may_have_token(url, trust) else None
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self._session.get(url, headers=headers, ssl=trust, allow_redirects=False) as response:
            if response.status == 401 and token is None and self._token is not None:
                return StatusResponse(None, _TOKEN_WITHHELD[url.scheme])
            if response.status == 401:
                return StatusResponse(None, "the worker does not accept this admin.token")
            if response.status == 403:
                return StatusResponse(None, "the principal of this token does not have the role look (access.roles)")
            status = decode_status(await _body(response)) if response.status == 200 else None
        return (
            StatusResponse(status)
            if status is not None
            else StatusResponse(None, f"the answer (HTTP status {response.status}) is not that of a worker")
        )


async def fetch_statuses(
    section: AdminSection, urls: Sequence[str], *, token_over_http: bool = False
) -> list[StatusResponse]:
    """Return the response of each URL, in order."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    # No decompression: a few bytes must not become gigabytes.
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        client = StatusClient(section, session, token_over_http=token_over_http)
        return await asyncio.gather(*(client.fetch(url) for url in urls))


def _reason_of(error: OSError) -> str:
    if isinstance(error, socket.gaierror):  # its error numbers are not errno values
        return f"its host name cannot be resolved: {(error.strerror or 'unknown error').lower()}"
    return os.strerror(error.errno).lower() if error.errno else "cannot be reached"


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Read the body; empty if it is longer than `MAX_ANSWER_BYTES`, because a worker's is not."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            return b""
    return b"".join(parts)


def _own_trust(section: AdminSection) -> ssl.SSLContext | None:
    """Return a context that trusts exactly the workers' own certificate, under any host name; None if it is not configured."""
    if section.tls_cert_file is None:
        return None
    try:
        own = ssl.create_default_context(cafile=section.tls_cert_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"admin.tls_cert_file {section.tls_cert_file} cannot be used: {error}") from None
    own.check_hostname = False
    own.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file need not contain the root
    return own
