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

_IS_UNREACHABLE = """
    (consecutive_failures > 0
        and coalesce(last_check ->> 'errorCode' = any(cast(:unreachable as text[])), false))
"""
# What is late, or finds no room in the slow lane, is leased to nobody: until the moment that its
# id gives it within the window.
#
# `(select now())`: the planner does not look into it, and so takes the index whose order is
# wanted. With the moment itself it expects next to nothing to be due, and sorts what it finds,
# which visits all rows that were due lately once more.
#
# By `ctid`: the rows are locked, and finding each again by its key would cost as much again. One
# that was changed since this statement began is not found so, and stays due.
_CLAIM = text(
    f"""
    with due as materialized (
        select place, late or is_unreachable and row_number() over (
            partition by is_unreachable and not late) > :slow_limit as is_put_off
        from (
            select ctid as place, {_IS_UNREACHABLE} as is_unreachable,
                checks_done > 0 and next_check_at < now() - cast(:late as interval)
                    and coalesce(put_off_at < now() - cast(:again as interval), true) as late
            from schedule_state where next_check_at <= (select now())
            order by next_check_at limit :limit for update skip locked) as locked),
    put_off as (
        update schedule_state set lease_token = lease_token + 1,
            slot_at = coalesce(slot_at, next_check_at), put_off_at = now(),
            next_check_at = now() + least(cast(:catch_up as interval), period)
                * ((hashtextextended(integration_id::text, 1) & 65535) / 65536.0)
        where ctid = any(array(select place from due where is_put_off)) returning 1),
    claimed as (
        update schedule_state set lease_token = lease_token + 1,
            slot_at = coalesce(slot_at, next_check_at),
            next_check_at = now() + cast(:margin as interval) + timeout
        where ctid = any(array(select place from due where not is_put_off))
        returning integration_id, lease_token, {_IS_UNREACHABLE} as is_unreachable)
    select put_off.rows as put_off, claimed.*
    from (select count(*) as rows from put_off) as put_off left join claimed on true
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
        + s.timeout
    from held where s.integration_id = held.integration_id returning s.integration_id
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
    """How many were late, or found no room, and are spread over the next minute."""

    @property
    def rows(self) -> int:
        return len(self.checks) + len(self.slow_checks) + self.put_off


class Leases:
    """Claims what is due, by the database's clock and for any number of schedulers."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def claim(
        self, limit: int, *, slow_limit: int | None = None, margin: timedelta = LEASE_MARGIN
    ) -> Claimed:
        """
        Lease up to `limit` integrations that are due, each for its timeout and the margin.

        Each is leased once, however many schedulers run. One whose lease ended without a
        result is due again. What is late after a downtime is put off, once, to a moment within
        the next minute: the checks of an hour must not come in a second. A first check never is.
        Of those whose target was unreachable, so are what exceeds `slow_limit`.
        """
        rows = await self._session.execute(
            _CLAIM,
            {
                "limit": limit,
                "slow_limit": limit if slow_limit is None else slow_limit,
                "margin": margin,
                "late": LATE,
                "catch_up": CATCH_UP,
                "again": PUT_OFF_AGAIN,
                "unreachable": list(UNREACHABLE),
            },
        )
        checks: list[ScheduledCheck] = []
        slow_checks: list[ScheduledCheck] = []
        put_off = 0
        for row in rows:
            put_off = row.put_off
            if row.integration_id is None:
                continue
            check = ScheduledCheck(
                integration_id=row.integration_id,
                check_id=new_id(),
                lease_token=row.lease_token,
            )
            (slow_checks if row.is_unreachable else checks).append(check)
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
