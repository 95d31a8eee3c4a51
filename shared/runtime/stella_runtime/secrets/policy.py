"""Which vaults, and which paths in them, the references of a tenant may name."""

from collections.abc import Mapping, Sequence

from stella_contracts.auth_ref import AuthRef

OTHERS = "*"
"""The key of the rules for tenants that have none of their own; as a rule: any vault."""
TENANT = "{tenant}"
"""In a rule: the tenant's name."""


class AuthRefPolicy:
    """
    Rules by tenant, such as `{"acme": ["vault/ci/acme", "kubernetes/acme"], "*": []}`.

    A rule is a vault, or a vault and a path: that very secret and all below it. Without any
    rules at all every tenant may name everything.
    """

    def __init__(self, rules: Mapping[str, Sequence[str]]) -> None:
        self._rules = {tenant: tuple(each) for tenant, each in rules.items()}

    @property
    def is_open(self) -> bool:
        """Whether there are no rules."""
        return not self._rules

    def rules_of(self, tenant_id: str) -> Sequence[str]:
        """What a tenant may name."""
        if self.is_open:
            return [OTHERS]
        rules = self._rules.get(tenant_id, self._rules.get(OTHERS, ()))
        return [rule.replace(TENANT, tenant_id).strip("/") for rule in rules]

    def allows(self, tenant_id: str, reference: AuthRef) -> bool:
        """Whether a tenant may name a reference. Whole segments are compared."""
        named = f"{reference.vault}/{reference.path}/"
        return any(
            rule == OTHERS or named.startswith(f"{rule}/") for rule in self.rules_of(tenant_id)
        )
