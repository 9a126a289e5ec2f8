"""A repository in S3: its conditional writes, its listings, its errors. The service is a thread of this process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forebay.models.artefacts.alias_moves import move_alias
from forebay.models.artefacts.aliases import read_aliases
from forebay.models.artefacts.artefact import read_artefact, read_version
from forebay.models.artefacts.remote_store import RemoteStore
from forebay.models.artefacts.repository import list_models, list_versions
from forebay.schemas.errors import ModelError, StorageError
from tests.models.build import make_net, publish

URL = "s3://bucket/team/models"
AT = datetime(2026, 11, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The file system of s3:// URLs, as s3fs configures itself from the environment, with an empty bucket."""
    import s3fs

    for key, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(key, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("bucket")
    yield files
    files.rm("bucket", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_versions_are_published_listed_and_read(s3: Any, cache: Path, tmp_path: Path) -> None:
    folder = publish(URL)
    publish(URL, net=make_net(seed=1), parent=1)
    assert (list_models(URL), list_versions(URL, "delays")) == (["delays"], [1, 2])
    stored = read_version(URL, "delays", 1)
    assert stored.place == f"{URL}/delays/1" and stored.directory == folder
    cache.rename(tmp_path / "elsewhere")
    artefact = read_artefact(read_version(URL, "delays", 1))
    assert artefact.golden is not None
    assert dict(artefact.contents) == {"weights.safetensors": s3.cat("bucket/team/models/delays/1/weights.safetensors")}
    assert not s3.exists("bucket/team/models/delays/1/claim.json")


def test_a_file_that_appears_after_the_look_is_not_replaced(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.pipe_file("bucket/team/models/x", b"first")
    store = RemoteStore(URL)
    monkeypatch.setattr(store._files, "exists", lambda path: False)
    assert not store.create("x", data=b"second")
    assert s3.cat("bucket/team/models/x") == b"first"


def test_aliases_move(s3: Any) -> None:
    publish(URL)
    move_alias(URL, "delays", "champion", 1, by="anna", at=AT)
    assert dict(read_aliases(URL, "delays").versions) == {"champion": 1}
    assert read_version(URL, "delays", "champion").manifest.version == 1
    assert not s3.exists("bucket/team/models/delays/aliases.json.lock")


def test_a_missing_bucket_is_reported_and_not_created(s3: Any) -> None:
    with pytest.raises(ModelError) as caught:
        list_models("s3://elsewhere/models")
    assert caught.value.kind == "repository_not_found"
    with pytest.raises(StorageError, match=r"s3://elsewhere/models/delays/1/claim.json: cannot be written"):
        publish("s3://elsewhere/models")
    assert not s3.exists("elsewhere")
