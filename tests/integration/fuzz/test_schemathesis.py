"""
Whatever is sent, the answer is one that the description has: schemathesis, with every check.

The same requests in each `make test`; in `make test-nightly` twenty thousand new ones.
"""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import hypothesis
import pytest
from tests.support.api import Authority, Hub
from tests.support.fuzzing import fuzz
from tests.support.tenants import Owner

from stella_runtime.operations import serving

NIGHTLY = hypothesis.settings.get_current_profile_name() == "nightly"
EXAMPLES_OF_A_NIGHT = 20_000

pytestmark = pytest.mark.timeout(6 * 3600 if NIGHTLY else 120)


@pytest.fixture
async def owner(hub: Hub) -> Owner:
    await hub.put_plugins("harbor", "in-memory")
    found = Owner(hub, hub.client())
    await found.settle()
    return found


@pytest.fixture
async def url(hub: Hub) -> AsyncIterator[str]:
    async with serving(hub.application, host="127.0.0.1", port=0, drain_seconds=1) as port:
        yield f"http://127.0.0.1:{port}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_caller_who_may_do_everything_finds_nothing(
    owner: Owner, url: str, tmp_path: Path
) -> None:
    token = owner.hub.authority.token(exp=int(time.time()) + 24 * 3600)
    arguments = (
        ["--max-examples=1500"]
        if NIGHTLY
        else ["--phases=examples,fuzzing,stateful", "--max-examples=4", "--seed=1"]
    )

    outcome = await fuzz(url, owner, tmp_path, headers=bearer(token), arguments=arguments)

    assert not outcome.failures, outcome.failures
    assert outcome.examples >= (EXAMPLES_OF_A_NIGHT if NIGHTLY else 100)


CALLERS: dict[str, Callable[[Authority], dict[str, str]]] = {
    "without a token": lambda _: {},
    "with an expired token": lambda a: bearer(a.token(exp=int(time.time()) - 3600)),
    "of another tenant": lambda a: bearer(a.token(tenant="globex", exp=2_000_000_000)),
    "without a scope": lambda a: bearer(a.token(scope="", exp=2_000_000_000)),
}


@pytest.mark.parametrize("make", CALLERS.values(), ids=CALLERS.keys())
async def test_who_may_not_finds_nothing_either(
    owner: Owner, url: str, tmp_path: Path, make: Callable[[Authority], dict[str, str]]
) -> None:
    headers = make(owner.hub.authority)
    arguments = (
        ["--max-examples=100"]
        if NIGHTLY
        else ["--phases=examples,fuzzing", "--max-examples=1", "--seed=1"]
    )

    outcome = await fuzz(url, owner, tmp_path, headers=headers, arguments=arguments)

    assert not outcome.failures, outcome.failures
    assert outcome.examples > 20
