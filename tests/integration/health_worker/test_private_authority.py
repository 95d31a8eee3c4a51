"""A tool whose certificate only its company knows, registered as people would."""

from tests.integration.egress.answering import saying, serving
from tests.support.api import Authority
from tests.support.certificates import server_certificate
from tests.support.whole_system import running_whole

from stella_runtime.persistence import Database

HEALTHY = b'{"status": "healthy", "components": [{"name": "core", "status": "healthy"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(HEALTHY), HEALTHY)


async def test_integration_brings_its_authority_along(
    database: Database, authority: Authority
) -> None:
    certificate = server_certificate()
    async with (
        serving(saying(ANSWER), tls=certificate.server_context()) as harbor,
        running_whole(database, authority) as whole,
    ):
        endpoint = f"https://127.0.0.1:{harbor.port}"
        trusted = {"endpoint": endpoint, "caBundle": certificate.certificate.decode()}
        without = await whole.register(name="without", config={"endpoint": endpoint})
        first = await whole.check(without)
        second = await whole.check(await whole.register(name="with", config=trusted))
        refused = await whole.http.post(
            "/integrations",
            json={"type": "harbor", "name": "broken", "config": trusted | {"caBundle": "none"}},
        )

    assert (first.json()["errorCode"], second.json()["errorMessage"]) == ("tls", None)
    assert second.json()["status"] == "healthy"
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/config/caBundle"
