"""The programs, once per session. If one is unavailable, its tests are skipped; with CI=true, they fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chart import tools
from tests.chart.render import Helm
from tests.needed import needed


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(needed(lambda: tools.helm(os.environ)))


@pytest.fixture(scope="session")
def helm_3() -> Helm:
    return Helm(needed(lambda: tools.helm(os.environ, tools.HELM_3)))


@pytest.fixture(scope="session")
def kubeconform() -> Path:
    return needed(lambda: tools.kubeconform(os.environ))


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders with the schemas of Kubernetes and of custom resources."""
    custom = tmp_path_factory.mktemp("schemas")
    tools.write_custom_schemas(custom)
    return needed(lambda: tools.kubernetes_schemas(os.environ)), custom
