"""How long a secret is remembered, and when it is not."""

import pytest

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import SecretUnavailable
from stella_runtime.secrets import Reader, SecretResolver
from stella_runtime.secrets.cache import CACHE_LIMIT, SecretCache

ROBOT = AuthRef.parse("authref://vault/ci/harbor#robot")
READER = Reader("acme")
ADMIN = AuthRef.parse("authref://vault/ci/harbor#admin")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Store:
    def __init__(self) -> None:
        self.held: str | None = '{"robot": "first", "admin": "root"}'
        self.reads = 0

    async def read(self, path: str) -> str:
        self.reads += 1
        if self.held is None:
            raise SecretUnavailable("The vault is sealed.")
        return self.held


def a_resolver(store: Store, clock: Clock) -> SecretResolver:
    cache = SecretCache(60, clock=clock)
    return SecretResolver(environment="production", stores={"vault": store}, cache=cache)


async def test_a_vault_that_is_away_is_not_missed_within_the_caches_time() -> None:
    store, clock = Store(), Clock()
    resolver = a_resolver(store, clock)
    await resolver.resolve(ROBOT, reader=READER)
    store.held, clock.now = None, 59.0

    assert (await resolver.resolve(ROBOT, reader=READER)).value == "first"
    assert (await resolver.resolve(ADMIN, reader=READER)).value == "root"
    clock.now = 60.0
    with pytest.raises(SecretUnavailable, match="sealed"):
        await resolver.resolve(ROBOT, reader=READER)


async def test_a_fresh_secret_is_read_now_and_remembered_from_now() -> None:
    store, clock = Store(), Clock()
    resolver = a_resolver(store, clock)
    await resolver.resolve(ROBOT, reader=READER)
    store.held = '{"robot": "second"}'
    clock.now = 30.0

    assert (await resolver.resolve(ROBOT, reader=READER)).value == "first"
    assert (await resolver.resolve(ROBOT, reader=READER, fresh=True)).value == "second"
    clock.now = 89.0
    assert (await resolver.resolve(ROBOT, reader=READER)).value == "second"
    assert store.reads == 2


async def test_what_could_not_be_read_is_not_remembered() -> None:
    store, clock = Store(), Clock()
    resolver = a_resolver(store, clock)
    store.held = None
    with pytest.raises(SecretUnavailable):
        await resolver.resolve(ROBOT, reader=READER)
    store.held = '{"robot": "first"}'

    assert (await resolver.resolve(ROBOT, reader=READER)).value == "first"


def test_the_cache_is_bounded_and_shows_nothing() -> None:
    cache = SecretCache()
    for number in range(CACHE_LIMIT + 1):
        cache.keep("vault", str(number), "hunter2")

    assert cache.find("vault", "0") is None
    assert cache.find("vault", "1") == "hunter2"
    assert "hunter2" not in repr(cache)
