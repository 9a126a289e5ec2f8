"""A registry of schemas in memory, which answers as Confluent documents, and fails as a test wishes.

It has what Apicurio 3.0.9 lacks: look-up by GUID, and references in its answers. Compatibility is not checked: a test says
which schemas are incompatible.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid5

from aiohttp import web

NAMESPACE = UUID("2f5b7c8e-0d5c-4b39-9a51-6d4e8f0a1b2c")
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
CUT = -1
"""A status that stands for a connection that is cut without an answer."""


@dataclass(slots=True)
class StubSchema:
    """A schema of the stub, as it answers it."""

    id: int
    document: dict[str, Any]

    @property
    def guid(self) -> UUID:
        return uuid5(NAMESPACE, json.dumps(self.document, sort_keys=True))


@dataclass(slots=True)
class StubRegistry:
    """The content and the behaviour of a stub.

    authorization: the value of the header that every request must have, if not None.
    failures: by beginning of the path, the status of all answers, or CUT. "" stands for all paths.
    delay_s: time before each answer.
    incompatible: what the compatibility check reports for every schema, if not empty.
    body: the text of all answers with status 200, if not None.
    keks: keys that encrypt data keys, by name. deks: data keys by KEK, subject and version.
    requests: how often each request was received, as "GET /path".
    last_headers: of the last request.
    """

    authorization: str | None = None
    failures: dict[str, int] = field(default_factory=dict)
    delay_s: float = 0.0
    incompatible: list[str] = field(default_factory=list)
    body: str | None = None
    requests: Counter[str] = field(default_factory=Counter)
    last_headers: Mapping[str, str] = field(default_factory=dict)
    subjects: dict[str, list[StubSchema]] = field(default_factory=dict)
    keks: dict[str, dict[str, Any]] = field(default_factory=dict)
    deks: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    url: str = ""

    def add(self, subject: str, schema: str, schema_type: str = "AVRO", **more: Any) -> StubSchema:
        """Register a schema and return it. The registry leaves out the type of Avro schemas."""
        document = {"schema": schema, **({} if schema_type == "AVRO" else {"schemaType": schema_type}), **more}
        everything = [known for versions in self.subjects.values() for known in versions]
        for known in everything:
            if known.document == document:
                if known not in self.subjects.setdefault(subject, []):
                    self.subjects[subject].append(known)
                return known
        added = StubSchema(max((known.id for known in everything), default=0) + 1, document)
        self.subjects.setdefault(subject, []).append(added)
        return added

    def find(self, is_wanted: Callable[[StubSchema], bool]) -> StubSchema | None:
        """Return the first schema that a condition holds for."""
        return next((known for versions in self.subjects.values() for known in versions if is_wanted(known)), None)

    # ---- answers

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or fail as the test wishes."""
        self.requests[f"{request.method} {request.path}"] += 1
        self.last_headers = request.headers
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        for beginning, status in self.failures.items():
            if request.path.startswith(beginning):
                if status == CUT:
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response()
                return _error(status, {401: 40101, 403: 40301, 429: 42901}.get(status, status), "as the test wishes")
        if self.authorization is not None and request.headers.get("Authorization") != self.authorization:
            return _error(401, 401, "Unauthorized")
        if self.body is not None:
            return web.Response(text=self.body)
        body = await request.json() if request.can_read_body else None
        parts = [unquote(part) for part in request.rel_url.raw_path.split("/") if part]
        return self._route(request.method, parts, body)

    def _route(self, method: str, parts: list[str], body: Any) -> web.Response:
        match method, parts:
            case "GET", ["subjects"]:
                return _json(sorted(self.subjects))
            case "GET", ["schemas", "ids", text]:
                return _schema(self.find(lambda known: str(known.id) == text))
            case "GET", ["schemas", "ids", text, "versions"]:
                found = [
                    {"subject": subject, "version": number}
                    for subject, versions in self.subjects.items()
                    for number, known in enumerate(versions, 1)
                    if str(known.id) == text
                ]
                return _json(found) if found else _no(40403)
            case _, ["dek-registry", "v1", "keks", *rest]:
                return self._keys(method, rest, body)
            case "GET", ["schemas", "guids", text]:
                return _schema(self.find(lambda known: str(known.guid) == text))
            case "GET", ["subjects", subject, "versions"]:
                versions = self.subjects.get(subject)
                return _no(40401) if versions is None else _json([*range(1, len(versions) + 1)])
            case "GET", ["subjects", subject, "versions", version]:
                return self._version(subject, version)
            case "POST", ["subjects", subject, "versions"]:
                if self.incompatible:
                    return _error(409, 409, "Schema being registered is incompatible with an earlier schema")
                added = self.add(subject, **_fields(body))
                return _json({"id": added.id, "guid": str(added.guid), "version": len(self.subjects[subject])})
            case "POST", ["subjects", subject]:
                known = [one for one in self.subjects.get(subject, ()) if one.document["schema"] == body["schema"]]
                return _json({"id": known[0].id, "subject": subject}) if known else _no(40403)
            case "POST", ["compatibility", "subjects", subject, "versions", "latest"]:
                if subject not in self.subjects:
                    return _no(40401)
                return _json({"is_compatible": not self.incompatible, "messages": self.incompatible})
        return _error(404, 404, "HTTP 404 Not Found")

    def _keys(self, method: str, parts: list[str], body: Any) -> web.Response:
        match method, parts:
            case "POST", []:
                return _json(self.keks.setdefault(body["name"], body))
            case "GET", [kek]:
                return _json(self.keks[kek]) if kek in self.keks else _no(40470)
            case "POST", [kek, "deks", *_]:
                place = (kek, body["subject"], str(body["version"]))
                return _json(self.deks.setdefault(place, {"kekName": kek, **body}))
            case "GET", [kek, "deks", subject, "versions", version]:
                place = (kek, subject, version)
                return _json(self.deks[place]) if place in self.deks else _no(40470)
        return _no(40470)

    def _version(self, subject: str, version: str) -> web.Response:
        versions = self.subjects.get(subject)
        if versions is None:
            return _no(40401)
        number = len(versions) if version == "latest" else int(version)
        if not 1 <= number <= len(versions):
            return _no(40402)
        known = versions[number - 1]
        about = {"subject": subject, "version": number, "id": known.id, "guid": str(known.guid)}
        return _json({**about, **known.document})


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    more = {key: value for key, value in body.items() if key not in ("schema", "schemaType")}
    return {"schema": body["schema"], "schema_type": body.get("schemaType", "AVRO"), **more}


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(document).encode(), content_type=CONTENT_TYPE)


def _error(status: int, code: int, message: str) -> web.Response:
    return _json({"error_code": code, "message": message}, status)


def _no(code: int) -> web.Response:
    words = {40401: "Subject not found", 40402: "Version not found", 40403: "Schema not found", 40470: "Key not found"}
    return _error(404, code, words[code])


def _schema(known: StubSchema | None) -> web.Response:
    return _no(40403) if known is None else _json({**known.document, "guid": str(known.guid)})


@asynccontextmanager
async def stub_registry(tls: ssl.SSLContext | None = None) -> AsyncIterator[StubRegistry]:
    """Yield a stub that listens on a free port of the loopback address."""
    stub = StubRegistry()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    stub.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stub
    finally:
        await runner.cleanup()
