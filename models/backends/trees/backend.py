"""The backend `trees`: ensembles of decision trees from XGBoost, LightGBM and scikit-learn."""

from __future__ import annotations

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import TREES_FILE
from forebay.models.artefacts.fit import ModelShape, check_fit
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.trees.ensemble import TreeEnsemble
from forebay.models.backends.trees.rules import EnsembleRules
from forebay.models.backends.trees.runner import TreesRunner
from forebay.schemas.errors import ModelError


class TreesBackend:
    """Builds runners of ensembles. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the rules in `params` fit the signature and the outputs."""
        rules = EnsembleRules.from_params(manifest.params, place)
        shape = ModelShape("the ensemble of trees", (rules.num_features,), rules.num_outputs)
        check_fit(shape, manifest.signature, manifest.preprocessing, place)
        if manifest.outputs == "logits" and rules.link != "identity":
            raise ModelError(
                f"{place}: outputs is logits and the link is {rules.link}; allowed with logits is identity",
                kind="trees",
                remedy="publish the model again with the outputs probabilities",
            )

    def build(self, artefact: Artefact, options: RunOptions) -> TreesRunner:
        """Read and check the arrays, and prepare them to run. Raises ModelError that names the file."""
        if options.device not in ("auto", "cpu"):
            raise ModelError(
                f"model {artefact.manifest.name}: the device is {options.device}; trees run on the CPU only",
                kind="device",
                remedy="set the model's device to cpu or auto",
            )
        require_fp32(options, f"model {artefact.manifest.name} is an ensemble of trees")
        place = str(artefact.directory / TREES_FILE)
        rules = EnsembleRules.from_params(artefact.manifest.params, str(artefact.directory / MANIFEST_FILE))
        ensemble = TreeEnsemble.read(artefact.contents[TREES_FILE], rules, place)
        return TreesRunner(ensemble, place=place, threads=options.threads)
