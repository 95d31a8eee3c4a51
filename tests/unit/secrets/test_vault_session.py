"""When the hub logs in to its vault, when it renews, and when it lets go."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

from stella_contracts.errors import SecretUnavailable
from stella_contracts.testing import Provider, SilentProvider
from stella_runtime.secrets import SecretSettings
from stella_runtime.secrets.vault import VaultStore
from stella_runtime.secrets.vault_requests import VaultRequests
from stella_runtime.secrets.vault_session import RoleLogin, TokenLogin, VaultSession

FORBIDDEN = httpx.Response(403, json={"errors": ["permission denied"]})


def granted(token: str, seconds: float, *, renewable: bool = True) -> httpx.Response:
    auth = {"client_token": token, "lease_duration": seconds, "renewable": renewable}
    return httpx.Response(200, json={"auth": auth})


class Vault:
    """Answers what it is told to, and counts what it is asked."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.elapsed = 0.0
        self.logins = 0
        self.renewals: list[str | None] = []
        self.known: set[str] = set()
        self.answers = answers
        self.provider = Provider(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        token = request.headers.get("X-Vault-Token")
        match request.url.path.removeprefix("/v1/"):
            case "auth/approle/login":
                self.logins += 1
                name = f"t{self.logins}"
                self.known.add(name)
                return self.answers.get("login") or granted(name, 3600)
            case "auth/token/renew-self":
                self.renewals.append(token)
                return self.answers.get("renewal") or granted(str(token), 3600)
            case "auth/token/lookup-self":
                if token not in self.known:
                    return FORBIDDEN
                return httpx.Response(200, json={"data": {"ttl": 3600, "renewable": True}})
            case "secret/data/ci/x" if token in self.known:
                return self.answers.get("read") or httpx.Response(
                    200, json={"data": {"data": {"v": "hunter2"}, "metadata": {"version": 1}}}
                )
        return FORBIDDEN

    def session(self, http: httpx.AsyncClient) -> tuple[VaultRequests, VaultSession]:
        vault = VaultRequests(http, "https://vault.test")
        login = RoleLogin("approle", lambda: {"role_id": "r", "secret_id": "s"})
        return vault, VaultSession(vault, login, clock=lambda: self.elapsed)

    async def tokens_at(self, *moments: float) -> Sequence[str]:
        """What a session gives at those seconds."""
        found = []
        async with httpx.AsyncClient(transport=self.provider) as http:
            _, session = self.session(http)
            for moment in moments:
                self.elapsed = moment
                found.append(await session.token())
        return found


async def test_token_is_renewed_after_two_thirds_of_its_life() -> None:
    vault = Vault()

    tokens = await vault.tokens_at(0, 2399, 2401, 4800, 4802)

    assert tokens == ["t1"] * 5
    assert (vault.logins, vault.renewals) == (1, ["t1", "t1"])


@pytest.mark.parametrize(
    ("answers", "renewals"),
    [
        pytest.param({"renewal": FORBIDDEN}, 1, id="refused"),
        pytest.param({"renewal": granted("t1", 20)}, 1, id="nearly at its longest life"),
        pytest.param({"login": granted("t1", 3600, renewable=False)}, 0, id="not renewable"),
    ],
)
async def test_token_that_cannot_be_renewed_is_followed_by_a_login(
    answers: Mapping[str, httpx.Response], renewals: int
) -> None:
    vault = Vault(**answers)

    await vault.tokens_at(0, 2401)

    assert (vault.logins, len(vault.renewals)) == (2, renewals)


async def test_token_that_has_ended_is_not_renewed() -> None:
    vault = Vault()

    assert await vault.tokens_at(0, 3601) == ["t1", "t2"]
    assert vault.renewals == []


async def test_token_without_an_end_is_kept() -> None:
    vault = Vault(login=granted("t1", 0))

    await vault.tokens_at(0, 1e9)

    assert (vault.logins, vault.renewals) == (1, [])


async def test_many_who_want_a_token_at_once_cost_one_login() -> None:
    vault = Vault()
    async with httpx.AsyncClient(transport=vault.provider) as http:
        _, session = vault.session(http)

        tokens = await asyncio.gather(*(session.token() for _ in range(20)))

    assert set(tokens) == {"t1"}
    assert vault.logins == 1


async def reads(vault: Vault, count: int) -> list[str]:
    """What reading so often comes to."""
    found: list[str] = []
    async with httpx.AsyncClient(transport=vault.provider) as http:
        store = VaultStore(*vault.session(http), "secret")
        for _ in range(count):
            try:
                found.append(await store.read("ci/x"))
            except SecretUnavailable as error:
                found.append(str(error))
    return found


async def test_want_of_a_policy_costs_no_login() -> None:
    vault = Vault(read=FORBIDDEN)

    said = await reads(vault, 3)

    assert set(said) == {"The vault lets the hub not read ci/x: no policy of its token does."}
    assert vault.logins == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(429, json={"errors": ["quota"]}), "limits our rate"),
        (httpx.Response(473), "is a standby"),
        (httpx.Response(500, text="hunter2"), "HTTP 500"),
        (httpx.Response(302, headers={"Location": "https://hunter2.test"}), "HTTP 302"),
        (httpx.Response(200, html="hunter2"), "not one of a vault"),
        (httpx.Response(200, json={"data": {"data": None, "hunter2": 1}}), "not one of a vault"),
        (httpx.Response(400, json={"errors": ["hunter2"]}), "HTTP 400"),
        (httpx.Response(404, text="hunter2"), "has no secret ci/x"),
    ],
)
async def test_answer_that_is_no_secret_is_told_in_our_words(
    answer: httpx.Response, reason: str
) -> None:
    [said] = await reads(Vault(read=answer), 1)

    assert reason in said
    assert "hunter2" not in said


async def test_vault_that_hangs_holds_up_nobody_for_ever() -> None:
    async with httpx.AsyncClient(transport=SilentProvider()) as http:
        vault = VaultRequests(http, "https://vault.test", seconds=0.01)
        session = VaultSession(vault, RoleLogin("approle", dict))

        waited = await asyncio.gather(*(session.token() for _ in range(3)), return_exceptions=True)

    assert {str(each) for each in waited} == {"The vault did not answer in 0.01 s."}


async def test_login_is_in_no_text_form() -> None:
    vault = Vault()
    async with httpx.AsyncClient(transport=vault.provider) as http:
        _, session = vault.session(http)
        await session.token()
        lease = await TokenLogin(lambda: "t1").log_in(VaultRequests(http, "https://vault.test"))

    assert "t1" not in repr(session)
    assert "t1" not in repr(lease)
    assert (lease.seconds, lease.renewable) == (3600, True)


async def test_namespace_is_sent_with_every_request() -> None:
    vault = Vault()
    async with httpx.AsyncClient(transport=vault.provider) as http:
        requests = VaultRequests(http, "https://vault.test/", "team1")
        await requests.ask("GET", "sys/health")

    [sent] = vault.provider.requests
    assert str(sent.url) == "https://vault.test/v1/sys/health"
    assert sent.headers["X-Vault-Namespace"] == "team1"


def settings(**given: Any) -> SecretSettings:
    return SecretSettings(
        database_url="x",
        amqp_url="x",
        vault_url="https://vault.test",
        **given,
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "STELLA_VAULT_TOKEN or STELLA_VAULT_TOKEN_FILE"),
        ({"vault_login": "approle"}, "STELLA_VAULT_ROLE_ID"),
        ({"vault_login": "approle", "vault_role_id": "r"}, "STELLA_VAULT_SECRET_ID"),
        ({"vault_login": "kubernetes"}, "STELLA_VAULT_ROLE"),
    ],
)
def test_login_that_lacks_a_setting_stops_the_start(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        settings(**given)
