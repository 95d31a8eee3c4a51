"""Which outages are parts of one: several of a tenant on one host, or with one vault. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import MalformedAuthRef
from stella_contracts.health import ErrorCode, IncidentScope
from stella_runtime.egress.origins import origin_text
from stella_runtime.persistence.alerts import ReadyAlert, RootOf
from stella_runtime.persistence.incidents import Root, StoredIncident
from stella_runtime.persistence.scheduling import Target

GROUP_SIZE = 3
"""So many outages with one root are told as one. At most one fewer are told before."""

GROUP_WINDOW = timedelta(minutes=10)
"""How far apart: the default interval, the two rechecks of a doubt, and some room."""

_OF_THE_HOST = frozenset(
    {
        ErrorCode.DNS,
        ErrorCode.CONNECT,
        ErrorCode.TLS,
        ErrorCode.TIMEOUT,
        ErrorCode.REMOTE_ERROR,
        ErrorCode.BAD_RESPONSE,
    }
)
"""Not what is said of one credential or one project on it."""


def root_of(target: Target, code: ErrorCode | None) -> Root | None:
    """What an outage may have in common with others, or None."""
    if code in _OF_THE_HOST:
        origin = origin_text(target.config)
        return None if origin is None else Root(IncidentScope.HOST, origin)
    if code is ErrorCode.SECRET_UNRESOLVABLE and target.auth_ref_uri is not None:
        try:
            return Root(IncidentScope.VAULT, AuthRef.parse(target.auth_ref_uri).vault)
        except MalformedAuthRef:
            return None
    return None


@dataclass(slots=True)
class Plan:
    """What becomes of outages that nobody has been told of."""

    announce: list[ReadyAlert] = field(default_factory=list)
    """Each by itself."""
    adopt: dict[UUID, list[UUID]] = field(default_factory=dict)
    """Parts of an incident that is open, by its id: nothing is told."""
    found: dict[RootOf, list[StoredIncident]] = field(default_factory=dict)
    """Parts of one that opens now, and is told."""


def plan(ready: Sequence[ReadyAlert], related: Sequence[StoredIncident]) -> Plan:
    """
    Group by tenant and root.

    `related` are the open incidents of these roots themselves, and the outages with them
    that were announced by themselves within the window.
    """
    planned = Plan()
    for root, group in _by_root(ready).items():
        parents = [each for each in related if _is(each, root) and each.integration_id is None]
        recent = [each for each in related if _is(each, root) and each.integration_id is not None]
        if parents:
            planned.adopt[parents[0].id] = [each.incident.id for each in group]
        elif len(group) + len(recent) >= GROUP_SIZE:
            planned.found[root] = [*recent, *(each.incident for each in group)]
        else:
            planned.announce += group
    planned.announce += [each for each in ready if each.incident.root is None]
    return planned


def _by_root(ready: Sequence[ReadyAlert]) -> Mapping[RootOf, list[ReadyAlert]]:
    groups: defaultdict[RootOf, list[ReadyAlert]] = defaultdict(list)
    for each in ready:
        if each.incident.root is not None:
            groups[RootOf(each.incident.tenant_id, each.incident.root)].append(each)
    return groups


def _is(incident: StoredIncident, root: RootOf) -> bool:
    return (incident.tenant_id, incident.root) == (root.tenant_id, root.root)
