"""Load a model as its settings require: device, trust policy, budget."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.models.artefacts.artefact import StoredVersion, read_version
from forebay.models.artefacts.signing_keys import SigningKey
from forebay.models.artefacts.signing_policy import Policy, SignatureRule, SigningPolicy
from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.serving.load_budget import LoadBudget, Meter
from forebay.models.serving.load_gate import load_version
from forebay.models.serving.served_model import ServedModel
from forebay.stream.config.models_section import ServedModelSettings
from forebay.stream.config.trust_section import TrustSection


class ModelLoader:
    """Loads the models that a worker serves. meter: what budgets are measured with."""

    def __init__(self, models: Sequence[ServedModelSettings], trust: TrustSection, meter: Meter) -> None:
        self._threads = max(served.model.threads for served in models)  # torch has one setting for the whole process
        self._trust = trust_policy(trust)
        self._meter = meter

    def load(self, served: ServedModelSettings) -> ServedModel:
        """Return a model, loaded and checked. Raises ModelError that names the file and the remedy."""
        model = served.model
        return self.load_version(read_version(model.repository, model.name, model.version), served)

    def load_version(self, stored: StoredVersion, served: ServedModelSettings) -> ServedModel:
        """Return the model of a version whose manifest has been read. Raises like `load`."""
        budget = LoadBudget(
            served.batch.max_batch_size,
            self._meter,
            max_memory_mb=served.model.max_load_memory_mb,
            max_batch_latency_ms=served.model.max_batch_latency_ms,
        )
        model = served.model
        options = RunOptions(model.device, self._threads, model.precision, model.cuda_graphs)
        return load_version(stored, options=options, trust=self._trust, budget=budget, num_instances=model.instances)


def trust_policy(section: TrustSection) -> TrustPolicy:
    """Return the trust policy of the configuration."""
    rules = [
        SignatureRule(
            Policy(rule.policy), rule.repository or "", rule.model, keys=tuple(rule.keys), allow_code=rule.allow_code
        )
        for rule in section.signatures
    ]
    keys = [
        SigningKey(
            key.name,
            key.file or "",
            key.fingerprint or "",
            authority=key.certificate_authority or "",
            subject=key.subject or "",
            not_after=key.expiry,
            revoked=key.revoked or "",
        )
        for key in section.keys
    ]
    return TrustPolicy(
        frozenset(section.repositories),
        frozenset(section.manifests),
        SigningPolicy(rules, keys),
        modules=frozenset(section.modules),
    )
