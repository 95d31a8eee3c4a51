"""How many checks of a host and of a tenant run at once."""

import asyncio

import pytest

from stella_health_worker.limits import Limits

A = ("a.test", 443)
B = ("b.test", 443)
LONG = 60.0


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_host_has_room_for_so_many_and_other_hosts_are_not_concerned() -> None:
    limits = Limits(per_host=2, per_tenant=10)

    assert [limits.try_enter((A, "acme")) for _ in range(3)] == [True, True, False]
    assert limits.try_enter((B, "acme"))


def test_a_tenant_has_room_for_so_many_and_other_tenants_are_not_concerned() -> None:
    limits = Limits(per_host=10, per_tenant=2)

    assert [limits.try_enter(("acme",)) for _ in range(3)] == [True, True, False]
    assert limits.try_enter(("other",))


def test_who_insists_makes_room_and_is_counted() -> None:
    limits = Limits(per_host=1, per_tenant=1)
    limits.try_enter((A, "acme"))

    limits.insist((A, "acme"))

    assert limits.inside(A) == 2
    limits.leave((A, "acme"))
    assert not limits.try_enter((A, "acme"))


async def test_those_that_wait_are_let_in_as_they_came() -> None:
    limits = Limits(per_host=1, per_tenant=10)
    limits.try_enter((A, "acme"))
    order: list[int] = []

    async def enter(number: int) -> None:
        assert await limits.enter((A, "acme"), LONG)
        order.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(3)]
    await settled()
    assert order == []
    for _ in tasks:
        limits.leave((A, "acme"))
        await settled()

    assert order == [0, 1, 2]


async def test_who_waits_for_the_tenant_does_not_hold_the_host() -> None:
    limits = Limits(per_host=1, per_tenant=1)
    limits.try_enter((B, "acme"))
    waiting = asyncio.create_task(limits.enter((A, "acme"), LONG))
    await settled()

    assert limits.try_enter((A, "other"))

    # It waits for the host next: the tenant has room now, the host has none.
    limits.leave((B, "acme"))
    await settled()
    assert not waiting.done()
    assert limits.try_enter((B, "acme"))
    limits.leave((B, "acme"))
    limits.leave((A, "other"))
    assert await waiting


async def test_who_waited_long_enough_gives_up_and_is_passed_over() -> None:
    limits = Limits(per_host=1, per_tenant=10)
    limits.try_enter((A, "acme"))
    patient = asyncio.create_task(limits.enter((A, "acme"), LONG))

    assert not await limits.enter((A, "acme"), 0.0)

    limits.leave((A, "acme"))
    assert await patient
    assert limits.inside(A) == 1


@pytest.mark.parametrize("is_let_in", [False, True])
async def test_who_is_cancelled_takes_no_room(is_let_in: bool) -> None:
    limits = Limits(per_host=1, per_tenant=1)
    limits.try_enter((A, "acme"))
    waiting = asyncio.create_task(limits.enter((A, "acme"), LONG))
    await settled()

    if is_let_in:
        limits.leave((A, "acme"))
    waiting.cancel()
    await asyncio.wait({waiting})
    if not is_let_in:
        limits.leave((A, "acme"))

    assert (limits.inside(A), limits.inside("acme")) == (0, 0)
    assert limits.try_enter((A, "acme"))
