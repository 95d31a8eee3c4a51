"""How many tenants have metrics of their own: a label's values must not grow with the customers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OTHER = "_other"
"""The label of all the rest. No tenant can have this name."""
TENANTS = 500


@dataclass(frozen=True, slots=True)
class Group:
    """How many integrations of one type and tenant have each status."""

    provider_type: str
    tenant_id: str
    counts: Mapping[str, int]


class TenantLabels:
    """
    The first tenants to be measured keep their names, as long as the process runs.

    They are not chosen by size: a series that is one tenant's today and everybody's tomorrow
    would say nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._named: set[str] = set()

    def of(self, tenant_id: str) -> str:
        if tenant_id in self._named:
            return tenant_id
        if len(self._named) >= self._limit:
            return OTHER
        self._named.add(tenant_id)
        return tenant_id

    def folded(self, groups: Iterable[Group]) -> list[Group]:
        """The groups, those of tenants without a name added up."""
        counts: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        # In one order, so that processes that see the same tenants name the same ones.
        for group in sorted(groups, key=lambda each: (each.tenant_id, each.provider_type)):
            of_group = counts[group.provider_type, self.of(group.tenant_id)]
            for status, count in group.counts.items():
                of_group[status] += count
        return [Group(key[0], key[1], of_group) for key, of_group in counts.items()]
