"""Tokens of Node's `jose` and of Nimbus (Java) are read here, and ours there. Each is fetched into a folder of its own.

The program of each library reads a JSON object from standard input: the key, `write` (ids with their texts, for which it
writes tokens) and `read` (tokens). It prints `written` (tokens by id) and `read` (header and text of each token, or null for
one that cannot be decrypted).
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from forebay.stream import native
from forebay.stream.encryption.documents import DocumentOpener, DocumentSealer
from tests.encryption.build import CIPHERS, KEY, sealer

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FIELD = "features.age"
NODE = """
import {CompactEncrypt, compactDecrypt} from "jose";
import {readFileSync} from "node:fs";
const asked = JSON.parse(readFileSync(0, "utf8"));
const key = Buffer.from(asked.key, "base64url");
const written = {};
for (const [id, text] of Object.entries(asked.write)) {
  const header = {alg: "dir", enc: "A256GCM", kid: "a", scope: {topic: "events", field: "features.age", id}};
  written[id] = await new CompactEncrypt(new TextEncoder().encode(text)).setProtectedHeader(header).encrypt(key);
}
const read = [];
for (const token of asked.read) {
  try {
    const {plaintext, protectedHeader} = await compactDecrypt(token, key);
    read.push({header: protectedHeader, text: new TextDecoder().decode(plaintext)});
  } catch (error) {
    read.push(null);
  }
}
console.log(JSON.stringify({written, read}));
"""
JAVA = """
import com.nimbusds.jose.*;
import com.nimbusds.jose.crypto.*;
import com.nimbusds.jose.util.*;
import java.util.*;

public class Tokens {
  public static void main(String[] arguments) throws Exception {
    Map<String, Object> asked = JSONObjectUtils.parse(new String(System.in.readAllBytes(), "UTF-8"));
    byte[] key = new Base64URL((String) asked.get("key")).decode();
    Map<String, Object> written = new LinkedHashMap<>();
    for (Map.Entry<String, Object> one : JSONObjectUtils.getJSONObject(asked, "write").entrySet()) {
      Map<String, Object> scope = new LinkedHashMap<>();
      scope.put("topic", "events");
      scope.put("field", "features.age");
      scope.put("id", one.getKey());
      JWEHeader header = new JWEHeader.Builder(JWEAlgorithm.DIR, EncryptionMethod.A256GCM)
          .keyID("a").customParam("scope", scope).build();
      JWEObject token = new JWEObject(header, new Payload((String) one.getValue()));
      token.encrypt(new DirectEncrypter(key));
      written.put(one.getKey(), token.serialize());
    }
    List<Object> read = new ArrayList<>();
    for (String text : JSONObjectUtils.getStringList(asked, "read")) {
      try {
        JWEObject token = JWEObject.parse(text);
        token.decrypt(new DirectDecrypter(key));
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("header", token.getHeader().toJSONObject());
        found.put("text", token.getPayload().toString());
        read.add(found);
      } catch (JOSEException error) {
        read.add(null);
      }
    }
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("written", written);
    answer.put("read", read);
    System.out.println(JSONObjectUtils.toJSONString(answer));
  }
}
"""
POM = """
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId>
  <artifactId>tokens</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.nimbusds</groupId>
      <artifactId>nimbus-jose-jwt</artifactId>
      <version>10.0.2</version>
    </dependency>
  </dependencies>
</project>
"""
Ask = Callable[[dict[str, Any]], Any]


def run(command: list[str], folder: Path, text: str = "") -> str:
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout


def node(folder: Path) -> list[str]:
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    (folder / "tokens.mjs").write_text(NODE)
    (folder / "package.json").write_text('{"private": true}')
    run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "jose@5.9.6"], folder)
    return ["node", "tokens.mjs"]


def java(folder: Path) -> list[str]:
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("no Maven or no Java")
    (folder / "Tokens.java").write_text(JAVA)
    (folder / "pom.xml").write_text(POM)
    run(["mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=jars"], folder)
    return ["java", "-cp", "jars/*", "Tokens.java"]


@pytest.fixture(scope="module", params=[node, java], ids=["jose", "nimbus"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """A function that runs the program of a library."""
    folder = tmp_path_factory.mktemp("library")
    command: list[str] = request.param(folder)
    key = base64.urlsafe_b64encode(KEY).rstrip(b"=").decode()
    return lambda asked: json.loads(run(command, folder, json.dumps({"key": key, "write": {}, "read": []} | asked)))


def opener() -> DocumentOpener:
    return DocumentOpener("events", [FIELD], CIPHERS, id_field="id", accepts_plain=False)


def test_tokens_of_the_library_are_read(ask: Ask) -> None:
    texts = {"e-1": "41.5", "order 17/ä": '{"years":[41,null]}', "x" * 90: '"\N{EURO SIGN}"', '"': "1"}
    written = ask({"write": texts})["written"]
    documents = {event_id: orjson.dumps({"id": event_id, "features": {"age": written[event_id]}}) for event_id in texts}
    own = opener()
    for event_id, text in texts.items():
        assert orjson.loads(own.open(documents[event_id]).value)["features"]["age"] == json.loads(text)
    moved = orjson.dumps({"id": "e-2", "features": {"age": written["e-1"]}})
    if native.encrypted_fields is not None:  # it knows the form of these headers by now
        opened, others = own.open_all([*documents.values(), moved])
        assert others == [3, 4] and json.loads(opened[0] or b"")["features"]["age"] == 41.5


def test_our_tokens_are_read_by_the_library(ask: Ask) -> None:
    ids, texts = ["e-1", "order 17/ä", "x" * 91], ["41.5", '{"years":[41,null]}', '"\N{EURO SIGN}"']
    values = [
        orjson.dumps({"id": one, "features": {"age": json.loads(text)}}) for one, text in zip(ids, texts, strict=True)
    ]
    sealed = DocumentSealer("events", [FIELD], id_field="id").seal(values, sealer())
    tokens = [orjson.loads(value)["features"]["age"] for value in sealed]
    changed = tokens[0][:-9] + ("A" if tokens[0][-9] != "A" else "B") + tokens[0][-8:]
    *read, refused = ask({"read": [*tokens, changed]})["read"]
    assert [one["text"] for one in read] == texts and refused is None
    scopes = [{"topic": "events", "field": FIELD, "id": one} for one in ids]
    assert [one["header"] for one in read] == [
        {"alg": "dir", "enc": "A256GCM", "kid": "a", "scope": one} for one in scopes
    ]
