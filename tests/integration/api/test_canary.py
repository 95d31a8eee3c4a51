"""A credential that somebody sends to the wrong place is refused, and is nowhere afterwards."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from tests.support.api import ANY_VERSION, Hub, registered
from tests.support.builders import a_config, a_registration

CANARY = "ghp_" + "Ca4aRy" * 6
"""Like a token of GitHub, and nobody's."""

NDJSON = {"Content-Type": "application/x-ndjson"}

Send = Callable[[httpx.AsyncClient, str], Any]


def dumped(database_url: str) -> str:
    """Everything that the database holds, as text."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "select c.relname from pg_class c where c.relkind in ('r', 'p')"
            " and c.relnamespace = 'public'::regnamespace and not c.relispartition"
        ).fetchall()
        rows = [
            connection.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(name)))
            for (name,) in tables
        ]
        texts = [text for cursor in rows for (text,) in cursor.fetchall()]
        bodies = connection.execute("select body from outbox").fetchall()
    return "\n".join([*texts, *(bytes(body).decode() for (body,) in bodies)])


def post(path: str, **body: Any) -> Send:
    return lambda api, _: api.post(path, json=body)


SENT: dict[str, Send] = {
    "as a name": post("/integrations", **a_registration(name=CANARY)),
    "in a tag": post("/integrations", **a_registration(tags=[CANARY])),
    "deep in a config": post(
        "/integrations", **a_registration(config=a_config(labels={"a": [{"b": CANARY}]}))
    ),
    "as a key of a config": post(
        "/integrations", **a_registration(config=a_config(labels={CANARY: 1}))
    ),
    "in a URL": post(
        "/integrations", **a_registration(config=a_config(endpoint=f"https://a:{CANARY}@b.test"))
    ),
    "as a reference": post("/integrations", **a_registration(authRefUri=CANARY)),
    "where a number should be": post("/integrations", **a_registration(failureThreshold=CANARY)),
    "as an unknown field": post("/integrations", **a_registration(password=CANARY)),
    "as a type": post("/integrations", **a_registration(type=CANARY)),
    "in half a document": lambda api, _: api.post(
        "/integrations",
        content=b'{"name": "' + CANARY.encode(),
        headers={"Content-Type": "application/json"},
    ),
    "in a change": lambda api, integration: api.put(
        f"/integrations/{integration}", json={"description": CANARY}, headers=ANY_VERSION
    ),
    "in a draft": post("/integrations/test", **a_registration(description=CANARY)),
    "in an import": lambda api, _: api.post(
        "/integrations/import",
        content=json.dumps(a_registration(name=CANARY)).encode() + b"\n{" + CANARY.encode(),
        headers=NDJSON,
    ),
    "in a webhook": post(
        "/webhooks", url="https://a.test", authRefUri="authref://vault/a", description=CANARY
    ),
    "as the reason of a mute": post("/mutes", reason=CANARY, endsAt="2027-01-01T00:00:00Z"),
    "as a token": lambda api, _: api.get(
        "/integrations", headers={"Authorization": f"Bearer {CANARY}"}
    ),
    "as a cursor": lambda api, _: api.get("/integrations", params={"cursor": CANARY}),
}


@pytest.mark.parametrize("where", SENT)
async def test_it_is_refused_and_is_nowhere_afterwards(
    hub: Hub,
    api: httpx.AsyncClient,
    database_url: str,
    capfd: pytest.CaptureFixture[str],
    where: str,
) -> None:
    record = await registered(api)

    answer = await SENT[where](api, record["id"])

    out, err = capfd.readouterr()
    if where != "in an import":
        assert 400 <= answer.status_code < 500, answer.text
    for place, text in {
        "answer": answer.text + str(answer.headers),
        "log": out + err,
        "database": dumped(database_url),
        "audit log": (await api.get("/audit-logs/export")).text,
        "metrics": (await api.get("http://hub.test/metrics")).text,
    }.items():
        assert CANARY not in text, place
        assert base64.b64encode(CANARY.encode()).decode()[:24] not in text, place
