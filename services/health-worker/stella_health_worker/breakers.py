"""The breakers of the hosts that do not answer."""

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from stella_contracts.health import ErrorCode
from stella_health_worker.breaker import (
    CLOSED,
    Admission,
    Breaker,
    admission,
    failed,
    given_up,
    probed,
)
from stella_runtime.egress.origins import Host
from stella_runtime.persistence.scheduling import Outcome

UNANSWERED = frozenset({ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TLS, ErrorCode.TIMEOUT})
NOT_ASKED = frozenset(
    {
        ErrorCode.SECRET_UNRESOLVABLE,
        ErrorCode.BLOCKED_BY_POLICY,
        ErrorCode.MISCONFIGURED,
        ErrorCode.PLUGIN_ERROR,
        ErrorCode.NOT_SUPPORTED,
    }
)
"""What says nothing about the host."""

HOSTS_LIMIT = 50_000

_Key = tuple[Host, str | None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a host is not asked."""

    code: ErrorCode
    failures: int
    seconds: float
    """Until it is asked again."""


class Breakers:
    """
    One for each host and tenant, and one for each host.

    That of the host counts failures only where the tenant changes: a tenant who has a host time
    out, by an endpoint or a timeout of its own choice, does not close the host to the others.
    A host that answers has none, so it costs a look into an empty place.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        chance: Callable[[], float] = random,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._now = now
        self._chance = chance
        self._on_change = on_change
        self._breakers: dict[_Key, Breaker] = {}
        self._last_tenant: dict[Host, str] = {}
        self._open: set[_Key] = set()

    def refusal(self, host: Host, tenant_id: str) -> Refusal | None:
        """Why a check of the host would be refused now, or None."""
        for key in ((host, tenant_id), (host, None)):
            breaker = self._breakers.get(key)
            if breaker is not None and admission(breaker, self._now()) is Admission.REFUSE:
                return self._refusal(breaker)
        return None

    def admit(self, host: Host, tenant_id: str, *, insisting: bool = False) -> Refusal | None:
        """
        Let a check through, and expect `note` or `forget`, or say why not.

        Who insists is let through, and is the probe of a breaker that is open.
        """
        if not insisting and (refusal := self.refusal(host, tenant_id)) is not None:
            return refusal
        for key in ((host, tenant_id), (host, None)):
            breaker = self._breakers.get(key)
            if breaker is None:
                continue
            if admission(breaker, self._now(), insisting=insisting) is Admission.PROBE:
                self._breakers[key] = probed(breaker, self._now())
        return None

    def forget(self, host: Host, tenant_id: str) -> None:
        """The check that was let through has no outcome."""
        for key in ((host, tenant_id), (host, None)):
            if (breaker := self._breakers.get(key)) is not None:
                self._breakers[key] = given_up(breaker)

    def note(self, host: Host, tenant_id: str, outcome: Outcome) -> None:
        """The outcome of a check that was let through."""
        code = outcome.result.error_code
        if code in NOT_ASKED or (code is ErrorCode.TIMEOUT and not _was_dialled(outcome)):
            self.forget(host, tenant_id)
        elif code is not None and code in UNANSWERED:
            self._failed((host, tenant_id), code)
            another = self._last_tenant.setdefault(host, tenant_id) != tenant_id
            if another or (host, None) in self._open:
                self._failed((host, None), code)
            self._last_tenant[host] = tenant_id
        elif self._breakers:
            self._close((host, tenant_id))
            self._close((host, None))
            self._last_tenant.pop(host, None)

    def _failed(self, key: _Key, code: ErrorCode) -> None:
        before = self._breakers.get(key, CLOSED)
        after = failed(before, code, self._now(), chance=self._chance())
        self._breakers[key] = after
        if after.open_until is not None and key not in self._open:
            self._open.add(key)
            self._on_change(len(self._open))
        if len(self._breakers) > HOSTS_LIMIT:
            self._close(next(iter(self._breakers)))
        if len(self._last_tenant) > HOSTS_LIMIT:
            del self._last_tenant[next(iter(self._last_tenant))]

    def _close(self, key: _Key) -> None:
        if self._breakers.pop(key, None) is not None and key in self._open:
            self._open.discard(key)
            self._on_change(len(self._open))

    def _refusal(self, breaker: Breaker) -> Refusal:
        until = breaker.open_until or 0.0
        return Refusal(
            code=breaker.code or ErrorCode.CONNECT,
            failures=breaker.failures,
            seconds=max(until - self._now(), 0.0),
        )


def _was_dialled(outcome: Outcome) -> bool:
    """Whether the time was spent on the host, and not on the vault or in the plugin."""
    return any(step.name == "connect" for step in outcome.steps)
