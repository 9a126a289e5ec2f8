"""Rules between the settings of the trust policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from forebay.stream.config.conflict import Conflict
from forebay.stream.config.trust_section import TrustSection


def trust_conflicts(section: TrustSection) -> Iterator[Conflict]:
    """Yield every broken rule."""
    keys, rules = ("trust.keys",), ("trust.signatures", "trust.keys")
    counts = Counter(key.name for key in section.keys)
    if twice := [name for name, count in counts.items() if count > 1]:
        yield Conflict(keys, f"must have different names, but {twice[0]!r} is present twice")
    usable = {key.name for key in section.keys if key.revoked is None}
    for index, rule in enumerate(section.signatures):
        if unknown := [name for name in rule.keys if name not in counts]:
            yield Conflict(rules, f"names in rule {index + 1} the key {unknown[0]!r}, which is not in trust.keys")
        elif rule.policy != "off" and not usable.intersection(rule.keys or usable):
            yield Conflict(
                rules, f"has in rule {index + 1} the policy {rule.policy}, but no key that counts in trust.keys"
            )
