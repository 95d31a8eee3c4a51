"""
The leases of checks: how a due row is given to one worker, kept and given back.

A lease is a row's `lease_token`, while `slot_at` is set; `next_check_at` is when it ends. All
times are the database's, so that the clocks of the hosts do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stella_contracts.health import ErrorCode
from stella_contracts.messages import ScheduledCheck
from stella_runtime.ids import new_id

LEASE_MARGIN = timedelta(seconds=30)
"""How long after its timeout a check that was claimed may be given to another worker."""

LATE = timedelta(seconds=10)
"""So late, a row tells of a downtime, and is put off rather than claimed."""

CATCH_UP = timedelta(seconds=60)
"""Over so long, or over their interval if that is shorter, late rows are spread."""

PUT_OFF_AGAIN = timedelta(minutes=10)
"""Not sooner: where all are late since there is too much to do, none may wait for ever."""

UNREACHABLE = (ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TIMEOUT)
"""What a target that is gone is found with. Asking it may take long; no other check may wait."""

# A late row is leased to nobody: until the moment that its id gives it within the window.
_CLAIM = text(
    """
    with due as materialized (
        select locked.*, row_number() over () as position from (
            select integration_id, checks_done, next_check_at, put_off_at from schedule_state
            where next_check_at <= now()
            order by next_check_at limit :limit for update skip locked) as locked)
    update schedule_state s set
        lease_token = s.lease_token + 1,
        slot_at = coalesce(s.slot_at, s.next_check_at),
        put_off_at = case when d.late then now() else s.put_off_at end,
        next_check_at = now() + case when d.late then
            least(cast(:catch_up as interval), d.period)
                * ((hashtextextended(s.integration_id::text, 1) & 65535) / 65536.0)
            else cast(:margin as interval) + d.timeout end
    from (
        select due.position, due.integration_id,
            i.check_timeout_seconds * interval '1 second' as timeout,
            check_period(i.id, i.check_interval_seconds) as period,
            due.checks_done > 0 and due.next_check_at < now() - cast(:late as interval)
                and coalesce(due.put_off_at < now() - cast(:again as interval), true) as late
        from due join integrations i on i.id = due.integration_id) as d
    where s.integration_id = d.integration_id
    returning s.integration_id, (cast(:check_ids as uuid[]))[d.position] as check_id,
        s.lease_token, d.late,
        s.consecutive_failures > 0
            and s.last_check ->> 'errorCode' = any(cast(:unreachable as text[])) as unreachable
    """
)


# Locked in one order, so that no two who hold some of the same rows wait for each other.
_HELD = """
    with held as materialized (
        select s.integration_id
        from unnest(cast(:integration_ids as uuid[]), cast(:lease_tokens as bigint[]))
                as asked (integration_id, lease_token)
            join schedule_state s on s.integration_id = asked.integration_id
                and s.lease_token = asked.lease_token and s.slot_at is not null
        order by s.integration_id for update of s)
"""
_RENEW = text(
    f"""
    {_HELD}
    update schedule_state s set next_check_at = now() + cast(:margin as interval)
        + i.check_timeout_seconds * interval '1 second'
    from held join integrations i on i.id = held.integration_id
    where s.integration_id = held.integration_id returning s.integration_id
    """
)
_RELEASE = text(
    f"""
    {_HELD}
    update schedule_state s set next_check_at = now()
    from held where s.integration_id = held.integration_id
    """
)


class Lease(Protocol):
    """A check that was claimed, in whatever form it is known."""

    @property
    def integration_id(self) -> UUID: ...
    @property
    def lease_token(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of the rows that were due."""

    checks: Sequence[ScheduledCheck]
    """Those to run now."""
    slow_checks: Sequence[ScheduledCheck]
    """Those to run now whose target could not be reached the last time."""
    put_off: int
    """How many were so late that they are spread over the next minute."""

    @property
    def rows(self) -> int:
        return len(self.checks) + len(self.slow_checks) + self.put_off


class Leases:
    """Claims what is due, by the database's clock and for any number of schedulers."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def claim(self, limit: int, *, margin: timedelta = LEASE_MARGIN) -> Claimed:
        """
        Lease up to `limit` integrations that are due, each for its timeout and the margin.

        Each is leased once, however many schedulers run. One whose lease ended without a
        result is due again. What is late after a downtime is put off, once, to a moment within
        the next minute: the checks of an hour must not come in a second. A first check never is.
        """
        rows = await self._session.execute(
            _CLAIM,
            {
                "limit": limit,
                "margin": margin,
                "late": LATE,
                "catch_up": CATCH_UP,
                "again": PUT_OFF_AGAIN,
                "unreachable": list(UNREACHABLE),
                "check_ids": [new_id() for _ in range(limit)],
            },
        )
        checks: list[ScheduledCheck] = []
        slow_checks: list[ScheduledCheck] = []
        put_off = 0
        for row in rows:
            if row.late:
                put_off += 1
                continue
            check = ScheduledCheck(
                integration_id=row.integration_id,
                check_id=row.check_id,
                lease_token=row.lease_token,
            )
            (slow_checks if row.unreachable else checks).append(check)
        return Claimed(checks, slow_checks, put_off)

    async def renew(
        self, leases: Sequence[Lease], *, margin: timedelta = LEASE_MARGIN
    ) -> set[UUID]:
        """Let leases hold as long as if they were claimed now, and say which still did."""
        rows = await self._session.execute(_RENEW, _held(leases) | {"margin": margin})
        return {row.integration_id for row in rows}

    async def release(self, leases: Sequence[Lease]) -> None:
        """End leases that still hold: what is not finished is due again at once."""
        await self._session.execute(_RELEASE, _held(leases))


def _held(leases: Sequence[Lease]) -> dict[str, Any]:
    return {
        "integration_ids": [lease.integration_id for lease in leases],
        "lease_tokens": [lease.lease_token for lease in leases],
    }
