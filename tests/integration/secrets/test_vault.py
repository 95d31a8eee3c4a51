"""The vault resolver against a real OpenBao, over TLS."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from aiohttp import web
from tests.support.certificates import ServerCertificate
from tests.support.openbao import OpenBao

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import SecretUnavailable
from stella_runtime.secrets import Reader, SecretResolver, SecretSettings, open_secrets

POLICY = """
path "secret/data/ci/*" { capabilities = ["read"] }
"""


@pytest.fixture
def authorities(openbao: OpenBao, tmp_path: Path) -> Path:
    path = tmp_path / "authorities.pem"
    path.write_bytes(openbao.certificate.certificate)
    return path


@pytest.fixture
def role(openbao: OpenBao) -> dict[str, Any]:
    """Settings that log in by an AppRole of the test's own."""
    name = f"approle-{uuid4().hex[:8]}"
    openbao.call("PUT", "sys/policies/acl/ci", {"policy": POLICY})
    openbao.call("POST", f"sys/auth/{name}", {"type": "approle"})
    rules = {"token_policies": ["ci"], "token_ttl": "1h", "token_max_ttl": "4h"}
    openbao.call("POST", f"auth/{name}/role/hub", rules)
    role_id = openbao.call("GET", f"auth/{name}/role/hub/role-id")["data"]["role_id"]
    secret_id = openbao.call("POST", f"auth/{name}/role/hub/secret-id", {})["data"]["secret_id"]
    return {
        "vault_login": "approle",
        "vault_login_mount": name,
        "vault_role_id": role_id,
        "vault_secret_id": secret_id,
    }


@asynccontextmanager
async def resolving(
    openbao: OpenBao, authorities: Path | None, **given: Any
) -> AsyncIterator[SecretResolver]:
    settings = SecretSettings(
        database_url="postgresql://x",
        amqp_url="amqp://x",
        vault_url=openbao.url,
        vault_authorities=authorities,
        **given,
    )
    async with open_secrets(settings) as secrets:
        yield secrets


async def read(secrets: SecretResolver, reference: str, *, fresh: bool = False) -> str | None:
    secret = await secrets.resolve(AuthRef.parse(reference), reader=Reader("acme"), fresh=fresh)
    return secret.value


async def refusal(secrets: SecretResolver, reference: str, *, fresh: bool = False) -> str:
    with pytest.raises(SecretUnavailable) as refused:
        await secrets.resolve(AuthRef.parse(reference), reader=Reader("acme"), fresh=fresh)
    return str(refused.value)


async def test_secret_is_read_by_its_fields(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    openbao.put("ci/harbor", robot="hunter2", user="ci", port=5000)
    async with resolving(openbao, authorities, **role) as secrets:
        whole = await secrets.resolve(
            AuthRef.parse("authref://vault/ci/harbor"), reader=Reader("acme")
        )

        assert await read(secrets, "authref://vault/ci/harbor#robot") == "hunter2"
        assert {name: whole.get(name) for name in whole.field_names} == {
            "port": "5000",
            "robot": "hunter2",
            "user": "ci",
        }


async def test_what_is_not_there_or_not_allowed_is_said_in_words(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    openbao.put("other/harbor", robot="hunter2")
    openbao.put("ci/deleted", robot="hunter2")
    openbao.call("DELETE", "secret/data/ci/deleted")
    async with resolving(openbao, authorities, **role) as secrets:
        assert (
            await refusal(secrets, "authref://vault/ci/none") == "The vault has no secret ci/none."
        )
        assert "was deleted" in await refusal(secrets, "authref://vault/ci/deleted")
        assert "no policy" in await refusal(secrets, "authref://vault/other/harbor")


async def test_missing_engine_and_namespace_are_named(openbao: OpenBao, authorities: Path) -> None:
    root = {"vault_token": openbao.root_token}
    async with resolving(openbao, authorities, **root, vault_mount="nowhere") as secrets:
        said = await refusal(secrets, "authref://vault/ci/harbor")
    async with resolving(openbao, authorities, **root, vault_namespace="nowhere") as secrets:
        in_no_namespace = await refusal(secrets, "authref://vault/ci/harbor")

    assert said == "The vault has no KV version 2 engine at nowhere/."
    assert in_no_namespace == "The vault has no such namespace."


async def test_secret_of_a_namespace(openbao: OpenBao, authorities: Path) -> None:
    openbao.call("POST", "sys/namespaces/team1", {})
    openbao.mount_kv(namespace="team1")
    openbao.call("POST", "secret/data/ci/x", {"data": {"v": "hunter3"}}, namespace="team1")
    given = {"vault_token": openbao.root_token, "vault_namespace": "team1"}
    async with resolving(openbao, authorities, **given) as secrets:
        assert await read(secrets, "authref://vault/ci/x") == "hunter3"


async def test_rotated_secret_is_seen_when_it_is_asked_for_anew(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    openbao.put("ci/rotated", v="hunter2")
    async with resolving(openbao, authorities, **role) as secrets:
        before = await read(secrets, "authref://vault/ci/rotated")
        openbao.put("ci/rotated", v="hunter3")
        remembered = await read(secrets, "authref://vault/ci/rotated")
        fresh = await read(secrets, "authref://vault/ci/rotated", fresh=True)
        after = await read(secrets, "authref://vault/ci/rotated")

    assert [before, remembered, fresh, after] == ["hunter2", "hunter2", "hunter3", "hunter3"]


async def test_revoked_token_of_the_hub_is_replaced_by_a_login(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    openbao.put("ci/x", v="hunter2")
    async with resolving(openbao, authorities, **role) as secrets:
        await read(secrets, "authref://vault/ci/x")
        openbao.call("PUT", f"sys/leases/revoke-prefix/auth/{role['vault_login_mount']}")

        assert await read(secrets, "authref://vault/ci/x", fresh=True) == "hunter2"


async def test_role_that_was_taken_away_is_said_and_what_is_remembered_goes_on(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    mount = role["vault_login_mount"]
    openbao.put("ci/x", v="hunter2")
    async with resolving(openbao, authorities, **role) as secrets:
        await read(secrets, "authref://vault/ci/x")
        openbao.call("DELETE", f"auth/{mount}/role/hub")
        openbao.call("PUT", f"sys/leases/revoke-prefix/auth/{mount}")

        said = await refusal(secrets, "authref://vault/ci/x", fresh=True)
        remembered = await read(secrets, "authref://vault/ci/x")

    assert said == f"The vault refuses the hub's login at auth/{mount} (HTTP 400)."
    assert remembered == "hunter2"
    assert role["vault_secret_id"] not in said


async def test_sealed_and_restarted_vault_is_said_and_used_again_without_a_restart(
    openbao: OpenBao, authorities: Path, role: Mapping[str, Any]
) -> None:
    openbao.put("ci/x", v="hunter2")
    async with resolving(openbao, authorities, **role) as secrets:
        await read(secrets, "authref://vault/ci/x")
        openbao.seal()
        sealed = await refusal(secrets, "authref://vault/ci/x", fresh=True)
        remembered = await read(secrets, "authref://vault/ci/x")
        openbao.stop()
        gone = await refusal(secrets, "authref://vault/ci/x", fresh=True)
        openbao.start()
        openbao.unseal()
        back = await read(secrets, "authref://vault/ci/x", fresh=True)

    assert sealed == "The vault is sealed, or overloaded (HTTP 503)."
    assert gone == "The vault: The connection was refused."
    assert (remembered, back) == ("hunter2", "hunter2")


async def test_certificate_that_nobody_vouches_for_is_refused(openbao: OpenBao) -> None:
    async with resolving(openbao, None, vault_token=openbao.root_token) as secrets:
        said = await refusal(secrets, "authref://vault/ci/x")

    assert said.startswith("The vault: The certificate was refused")


async def test_token_in_a_file_may_be_replaced(
    openbao: OpenBao, authorities: Path, tmp_path: Path
) -> None:
    openbao.call("PUT", "sys/policies/acl/ci", {"policy": POLICY})
    openbao.put("ci/x", v="hunter2")
    rules = {"policies": ["ci"], "period": "1h"}
    tokens = [openbao.call("POST", "auth/token/create", rules)["auth"] for _ in range(2)]
    file = tmp_path / "token"
    file.write_text(tokens[0]["client_token"] + "\n")
    async with resolving(openbao, authorities, vault_token_file=file) as secrets:
        await read(secrets, "authref://vault/ci/x")
        openbao.call("POST", "auth/token/revoke", {"token": tokens[0]["client_token"]})
        file.write_text(tokens[1]["client_token"])
        replaced = await read(secrets, "authref://vault/ci/x", fresh=True)
        openbao.call("POST", "auth/token/revoke", {"token": tokens[1]["client_token"]})
        revoked = await refusal(secrets, "authref://vault/ci/x", fresh=True)
        file.unlink()
        missing = await refusal(secrets, "authref://vault/ci/x", fresh=True)

    assert replaced == "hunter2"
    assert revoked == "The vault refuses the hub's token (HTTP 403)."
    assert missing == f"The hub's own credential for the vault cannot be read: {file}."


async def test_service_account_of_kubernetes_logs_in(
    openbao: OpenBao, authorities: Path, tmp_path: Path
) -> None:
    openbao.call("PUT", "sys/policies/acl/ci", {"policy": POLICY})
    openbao.put("ci/x", v="hunter2")
    account = jwt.encode(
        {
            "iss": "https://kubernetes.test",
            "sub": "system:serviceaccount:stella:hub",
            "iat": int(time.time()) - 10,
            "nbf": int(time.time()) - 10,
            "exp": int(time.time()) + 3600,
            "kubernetes.io": {
                "namespace": "stella",
                "serviceaccount": {"name": "hub", "uid": "1"},
            },
        },
        openbao.certificate.key,
        "ES256",
    )
    file = tmp_path / "jwt"
    file.write_text(account)
    async with token_review(account, openbao.certificate) as cluster:
        openbao.call("POST", "sys/auth/cluster", {"type": "kubernetes"})
        config = {
            "kubernetes_host": cluster,
            "token_reviewer_jwt": account,
            "kubernetes_ca_cert": openbao.certificate.certificate.decode(),
            "disable_local_ca_jwt": True,
        }
        await asyncio.to_thread(openbao.call, "POST", "auth/cluster/config", config)
        rules = {
            "bound_service_account_names": ["hub"],
            "bound_service_account_namespaces": ["stella"],
            "token_policies": ["ci"],
        }
        openbao.call("POST", "auth/cluster/role/hub", rules)
        given = {
            "vault_login": "kubernetes",
            "vault_login_mount": "cluster",
            "vault_jwt_file": file,
        }
        async with resolving(openbao, authorities, **given, vault_role="hub") as secrets:
            found = await read(secrets, "authref://vault/ci/x")
        async with resolving(openbao, authorities, **given, vault_role="other") as secrets:
            said = await refusal(secrets, "authref://vault/ci/x")

    assert found == "hunter2"
    assert said.startswith("The vault refuses the hub's login at auth/cluster")


@asynccontextmanager
async def token_review(account: str, certificate: ServerCertificate) -> AsyncIterator[str]:
    """As much of Kubernetes as a vault asks for: whose token is that?"""

    async def review(request: web.Request) -> web.Response:
        asked = await request.json()
        is_known = asked["spec"]["token"] == account
        user = {"username": "system:serviceaccount:stella:hub", "uid": "1", "groups": []}
        return web.json_response({"status": {"authenticated": is_known, "user": user}}, status=201)

    application = web.Application()
    application.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        tls = certificate.server_context()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
