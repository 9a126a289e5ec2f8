"""The architecture of the code: which modules may import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_files import parse

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "models", "stream")
PREFIX = "forebay."

# Imports go in one direction: schemas <- models <- stream.
MAY_IMPORT = {"schemas": {"schemas"}, "models": {"schemas", "models"}, "stream": set(PACKAGES)}

# Only the listed modules may import these libraries. A folder includes everything in it. Unlisted libraries are unrestricted.
IMPORTED_ONLY_BY = {
    "aiokafka": (
        "stream/kafka",
        "stream/aggregate/transport.py",
        "stream/evaluate/service.py",
        "stream/publish/publisher.py",
        "stream/kafka/consumer/topic_reader.py",
        "stream/bench",
        "stream/demo",
    ),
    "faust": ("stream/aggregate/app.py", "stream/aggregate/table.py", "stream/aggregate/transport.py"),
    "mode": (),  # Faust's own foundation
    "aiohttp": (
        "stream/admin",
        "stream/aggregate/admin.py",
        "stream/aggregate/service.py",
        "stream/aggregate/webhook.py",
        "stream/evaluate/admin.py",
        "stream/supervisor/child_client.py",
        "stream/supervisor/group_admin.py",
        "stream/schema_registry/connection.py",
        "stream/schema_registry/http.py",
        "stream/authorization/key_fetcher.py",
    ),
    "cryptography": (
        "models/artefacts/signed_bundle.py",
        "models/artefacts/signing_certificates.py",
        "models/artefacts/signing_keys.py",
        "stream/access/key_set.py",
        "stream/audit/signing.py",
        "stream/encryption/live_keys.py",
        "stream/schema_registry/field_keys.py",
    ),
    "fastavro": ("stream/decode/formats", "stream/publish/avro_values.py"),
    "jsonschema_rs": ("stream/decode/formats/json_schema.py",),
    "fsspec": ("models/artefacts/remote_store.py", "models/data/locations.py"),
    "noida_db": (),  # located without being imported: it is a program in a package
    "google": ("stream/decode/formats",),  # protobuf, an extra
    "pyarrow": (
        "models/data",
        "models/statistics",
        "stream/decode/formats/arrow.py",
        "stream/decode/formats/arrow_types.py",
        "stream/decode/formats/arrow_values.py",
        "stream/publish/arrow_values.py",
        "stream/tables",
        "stream/demo",
        "models/training",
    ),
    "safetensors": ("models/artefacts/golden.py", "models/backends", "models/distributed/state.py"),
    "torch": (
        "models/backends/torch",
        "models/compression/fine_tuning.py",
        "models/distributed",
        "models/registration/own_torch.py",
        "models/registration/sklearn_torch.py",
        "models/registration/torch_export.py",
        "models/training",
        "stream/bench/setup.py",
    ),
    "lightgbm": ("models/registration/lightgbm_reader.py", "models/training/tree_training.py"),
    "sklearn": ("models/registration", "models/preparation", "models/training/tree_training.py"),
    "pandas": ("models/registration",),
    "numpy": ("models", "stream"),
    "onnx": ("models/compression/onnx_quantisation.py", "models/edge"),
    "onnxruntime": ("models/backends", "models/compression/onnx_quantisation.py", "models/edge/device"),
    "PIL": ("stream/decode/formats/image.py",),
    "xgboost": ("models/registration/xgboost_reader.py", "models/training/tree_training.py"),
    "xxhash": (
        "models/artefacts/text_codes.py",
        "models/statistics",
        "models/training",
        "stream/evaluate/join_hash.py",
        "stream/experiments/blocks.py",
        "stream/rollouts/allocation.py",
        "stream/rollouts/sampling.py",
    ),
    "opentelemetry": ("stream/telemetry",),
    "prometheus_client": ("stream/telemetry/prometheus.py",),
    "psutil": ("stream/telemetry/process_usage.py",),
    "pynvml": ("stream/telemetry/resources.py",),
}

# These handle the client's exceptions and do not connect to brokers themselves.
MAY_IMPORT_AIOKAFKA_ERRORS = (
    "stream/evaluate/evaluator.py",
    "stream/pipeline/pipeline.py",
    "stream/pipeline/recovery.py",
    "stream/preflight.py",
    "stream/worker/worker.py",
)

# Methods that undo a failed commit. docs/architecture.md names the files in which they are defined and called.
UNDOING = {"rewind", "rejoin", "restart"}
MAX_FILES_OF_A_FAILED_COMMIT = 4

FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported_modules(source: str) -> Iterator[str]:
    """Yield the full name of every imported module, also within functions."""
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield str(node.module)


def is_in(path: Path, places: tuple[str, ...]) -> bool:
    return any(path == Path(place) or Path(place) in path.parents for place in places)


def violations(path: Path, source: str) -> list[str]:
    """Return the violations in the imports of the module `path`."""
    package = path.parts[0]
    found = []
    for module in imported_modules(source):
        top = module.removeprefix(PREFIX).split(".")[0]
        if module.split(".")[0] in PACKAGES:
            found.append(f"imports {module} instead of {PREFIX}{module}")
        if top in PACKAGES and top not in MAY_IMPORT[package]:
            found.append(f"{package} imports {module}")
        if package == "models" and top == "schemas" and module != "forebay.schemas.errors":
            found.append(f"models imports {module}, and may only import forebay.schemas.errors")
        if module == "aiokafka.errors" and is_in(path, MAY_IMPORT_AIOKAFKA_ERRORS):
            continue
        if top in IMPORTED_ONLY_BY and not is_in(path, IMPORTED_ONLY_BY[top]):
            found.append(f"imports {module}, which is for {', '.join(IMPORTED_ONLY_BY[top]) or 'nobody'}")
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_rules(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        (
            "schemas/topics.py",
            "from forebay.models.backends.torch.architectures import MLP",
            "schemas imports forebay.models.backends.torch.architectures",
        ),
        (
            "models/backends/torch/architectures.py",
            "def f():\n    import forebay.stream.core.clock",
            "models imports forebay.stream.core.clock",
        ),
        (
            "models/backends/torch/architectures.py",
            "import forebay.schemas.topics",
            "models imports forebay.schemas.topics",
        ),
        ("stream/pipeline/micro_batcher.py", "import aiokafka.errors as e", "imports aiokafka.errors"),
        ("stream/pipeline/pipeline.py", "from aiokafka import AIOKafkaProducer", "imports aiokafka"),
        ("stream/pipeline/micro_batcher.py", "if x:\n    from torch.nn import Module", "imports torch.nn"),
        ("schemas/topics.py", "import numpy as np", "imports numpy"),
        (
            "stream/pipeline/micro_batcher.py",
            "import schemas.errors",
            "imports schemas.errors instead of forebay.schemas.errors",
        ),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str, wrong: str) -> None:
    (found,) = violations(Path(path), source)
    assert wrong in found


def test_the_names_in_the_tables_exist() -> None:
    named = {place for places in IMPORTED_ONLY_BY.values() for place in places} | set(MAY_IMPORT_AIOKAFKA_ERRORS)
    assert {place for place in named if not (ROOT / place).exists()} == set()


def test_the_command_line_starts_without_torch_and_aiokafka() -> None:
    script = (
        "import sys, forebay.stream.cli; print(*sorted({'torch', 'aiokafka', 'numpy', 'pyarrow'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def undoes_commits(source: str) -> bool:
    """Return whether a module calls or implements a method that undoes a failed commit. Protocols implement nothing."""
    tree = parse(source)
    protocols = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
    ]
    declared = {id(member) for protocol in protocols for member in protocol.body}
    return any(
        (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNDOING)
        or (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name in UNDOING
            and id(node) not in declared
        )
        for node in ast.walk(tree)
    )


def test_a_failed_commit_is_followed_in_the_documented_files() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("#### What happens after a failed commit\n")[2].partition("\n#")[0]
    documented = re.findall(r"^\d\. `([\w/.]+)`", section, re.MULTILINE)
    found = {
        path.as_posix() for path in FILES if path.parts[0] == "stream" and undoes_commits((ROOT / path).read_text())
    }
    # The evaluator is a role of its own, with one file for this.
    assert found - {"stream/evaluate/evaluator.py"} == {f"stream/{name}" for name in documented}
    assert len(documented) == len(set(documented)) <= MAX_FILES_OF_A_FAILED_COMMIT


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("await self._source.rewind()", True),
        ("class Source:\n    async def rejoin(self): ...", True),
        ("class Port(Protocol):\n    async def restart(self): ...", False),
        ("class Port(Protocol):\n    async def restart(self): ...\nproducer.restart()", True),
        ("rewind = 1; self.rewinds += 1", False),
    ],
)
def test_the_search_for_undoing_methods_finds_them(source: str, found: bool) -> None:
    assert undoes_commits(source) == found
