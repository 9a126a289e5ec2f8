"""Settings of the trust policy: which models may bring code of their own."""

from __future__ import annotations

from pydantic import Field

from forebay.stream.config.section import Section
from forebay.stream.config.values import Digests, Repositories


class TrustSection(Section):
    """Models that run code of their own are loaded only if this section names them."""

    repositories: Repositories = Field(
        default=(),
        description="Model repositories whose models may all run code of their own. A user who may write there can run "
        "any code in the worker.",
    )
    manifests: Digests = Field(
        default=(),
        description="Digests of the manifests of single versions that may run code of their own; "
        "`forebay models show` prints them.",
    )
