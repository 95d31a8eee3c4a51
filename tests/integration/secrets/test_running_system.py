"""A running system whose secrets are in a real OpenBao: rotated, revoked, sealed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.api import Authority
from tests.support.harbor_server import ROBOT
from tests.support.openbao import OpenBao
from tests.support.whole_system import Whole, eventually, running_whole

from stella_runtime.persistence import Database

ALERTS = ("integration.alert.opened", "integration.alert.resolved")


@pytest.fixture
async def whole(
    database: Database, authority: Authority, openbao: OpenBao, tmp_path: Path
) -> AsyncIterator[Whole]:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(openbao.certificate.certificate)
    async with running_whole(
        database,
        authority,
        vault_url=openbao.url,
        vault_authorities=authorities,
        vault_token=openbao.root_token,
    ) as system:
        yield system


def alerts(whole: Whole) -> list[str]:
    return [each["type"] for each in whole.events if each["type"] in ALERTS]


async def found(whole: Whole, integration_id: str) -> tuple[str, str | None]:
    check = (await whole.check(integration_id)).json()
    return check["status"], check.get("errorCode")


async def test_rotated_secret_needs_nobody_and_a_revoked_one_is_one_incident(
    whole: Whole, openbao: OpenBao
) -> None:
    openbao.put("running/harbor", username=ROBOT, password=whole.harbor.password)
    reference = "authref://vault/running/harbor"
    integration = await whole.register(authRefUri=reference, failureThreshold=3)
    assert await found(whole, integration) == ("healthy", None)

    whole.harbor.password = "rotated"
    openbao.put("running/harbor", username=ROBOT, password="rotated")
    assert await found(whole, integration) == ("healthy", None)

    whole.harbor.password = "revoked"
    for _ in range(4):
        assert await found(whole, integration) == ("unhealthy", "auth_rejected")
    openbao.put("running/harbor", username=ROBOT, password="revoked")
    for _ in range(2):
        assert await found(whole, integration) == ("healthy", None)
    await eventually(lambda: alerts(whole)[-1:] == ["integration.alert.resolved"])

    assert alerts(whole) == [*ALERTS]


async def test_sealed_vault_is_one_incident_of_all_who_need_it_and_of_nobody_who_was_read(
    whole: Whole, openbao: OpenBao
) -> None:
    names = [f"running/sealed-{number}" for number in range(4)]
    for name in names:
        openbao.put(name, username=ROBOT, password=whole.harbor.password)
    known, *others = [
        await whole.register(name=name, authRefUri=f"authref://vault/{name}", failureThreshold=1)
        for name in names
    ]
    assert await found(whole, known) == ("healthy", None)

    openbao.seal()
    for each in others:
        assert await found(whole, each) == ("unhealthy", "secret_unresolvable")
    assert await found(whole, known) == ("healthy", None)
    await eventually(lambda: len(alerts(whole)) == 3)
    openbao.unseal()
    for each in others * 2:
        assert await found(whole, each) == ("healthy", None)
    await eventually(lambda: alerts(whole).count("integration.alert.resolved") == 3)

    shared = [each["data"] for each in whole.events if each["data"].get("scope") == "vault"]
    assert [(each["cause"], each["affected"]) for each in shared] == [("vault", 3)] * 2
    assert shared[0]["incidentId"] == shared[1]["incidentId"]
    assert shared[0]["resolvedAt"] is None
    assert shared[1]["resolvedAt"] is not None
