"""Workers asked for their status, all at once, each with little patience."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp
import orjson

from schemas.errors import ConfigError
from stream.admin.group_status import Answer
from stream.config.sections import AdminSection

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 4_000_000


async def ask_workers(section: AdminSection, urls: Sequence[str]) -> list[Answer]:
    """The answer of each URL, with the section's token and trust."""
    headers = {"Authorization": f"Bearer {section.token.get_secret_value()}"} if section.token else {}
    connector = aiohttp.TCPConnector(ssl=_trust(section))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        return await asyncio.gather(*(_ask(session, url) for url in urls))


async def _ask(session: aiohttp.ClientSession, url: str) -> Answer:
    try:
        async with session.get(f"{url.rstrip('/')}/status", allow_redirects=False) as response:
            body = await response.content.read(MAX_ANSWER_BYTES)
            if response.status == 401:
                return Answer(None, "it wants another admin.token")
            document = orjson.loads(body) if response.status == 200 else None
    except TimeoutError:
        return Answer(None, f"no answer within {TIMEOUT_S:g} s")
    except aiohttp.ClientConnectorCertificateError:
        return Answer(None, "its certificate is not trusted (admin.tls_cert_file)")
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        return Answer(None, os.strerror(number).lower() if number else "cannot be reached")
    except (aiohttp.ClientError, ValueError) as error:
        return Answer(None, str(error)[:200] or type(error).__name__)
    if not isinstance(document, dict) or "worker" not in document:
        return Answer(None, f"answers {response.status}, not as a worker does")
    return Answer(document)


def _trust(section: AdminSection) -> ssl.SSLContext:
    """The system's, and where the workers' own certificate is at hand, that one, whatever name they are reached by."""
    context = ssl.create_default_context()
    if section.tls_cert_file is not None:
        try:
            context.load_verify_locations(section.tls_cert_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"admin.tls_cert_file {section.tls_cert_file} cannot be used: {error}") from None
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file need not go on to the root
    return context
