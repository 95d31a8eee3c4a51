"""Which references a tenant may name."""

import pytest

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import AuthRefForbidden
from stella_runtime.secrets import AuthRefPolicy, Reader, SecretRead, SecretResolver

POLICY = AuthRefPolicy(
    {"acme": ["vault/ci/acme/", "kubernetes"], "free": ["*"], "*": ["vault/{tenant}"]}
)


class Store:
    async def read(self, path: str) -> str:
        return path


@pytest.mark.parametrize(
    ("tenant", "reference", "allowed"),
    [
        ("acme", "authref://vault/ci/acme", True),
        ("acme", "authref://vault/ci/acme#robot", True),
        ("acme", "authref://vault/ci/acme/harbor#robot", True),
        ("acme", "authref://vault/ci/acme2/harbor", False),
        ("acme", "authref://vault/ci", False),
        ("acme", "authref://vault/acme/harbor", False),
        ("acme", "authref://kubernetes/anything/key", True),
        ("acme", "authref://kubernetes2/anything", False),
        ("globex", "authref://vault/globex/key", True),
        ("globex", "authref://vault/acme/key", False),
        ("free", "authref://env/NAME", True),
    ],
)
def test_rules_are_compared_by_whole_segments(tenant: str, reference: str, allowed: bool) -> None:
    assert POLICY.allows(tenant, AuthRef.parse(reference)) is allowed


def test_without_rules_everything_is_allowed() -> None:
    policy = AuthRefPolicy({})

    assert policy.is_open
    assert policy.allows("acme", AuthRef.parse("authref://vault/x"))


def test_a_tenant_that_no_rule_names_may_name_nothing() -> None:
    assert not AuthRefPolicy({"acme": ["*"]}).allows("globex", AuthRef.parse("authref://vault/x"))


async def test_it_is_asked_again_when_a_secret_is_read_and_nothing_is_read_then() -> None:
    told: list[SecretRead] = []
    resolver = SecretResolver(
        environment="production", stores={"vault": Store()}, policy=POLICY, tell=told.append
    )
    mine, theirs = AuthRef.parse("authref://vault/globex/key"), Reader("initech")
    await resolver.resolve(mine, reader=Reader("globex"))

    # What another tenant's read has left in memory is not given away either.
    with pytest.raises(AuthRefForbidden, match="vault/initech"):
        await resolver.resolve(mine, reader=theirs)

    assert [read.reader.tenant_id for read in told] == ["globex"]


async def test_reads_of_a_vault_are_told_and_what_is_remembered_is_not() -> None:
    told: list[SecretRead] = []
    resolver = SecretResolver(environment="production", stores={"vault": Store()}, tell=told.append)
    reference = AuthRef.parse("authref://vault/key")

    for fresh in (False, False, True):
        await resolver.resolve(reference, reader=Reader("acme"), fresh=fresh)

    assert [(read.reference, read.found) for read in told] == [(reference, True)] * 2
