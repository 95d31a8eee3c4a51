"""
The peer that a Celery user would write: a task a check, a row of history a task.

The HTTP client and the connection to the database are kept per thread or process. A task is
acknowledged when it is done, as with us.
"""

import os
import threading
from uuid import UUID, uuid4

import httpx
import psycopg
from celery import Celery

app = Celery("peer", broker=os.environ.get("PEER_AMQP_URL", "amqp://"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=16,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    task_default_queue="peer",
)

TABLE = """
create table peer_history (id uuid primary key, integration_id uuid not null,
    checked_at timestamptz not null default now(), status text not null, latency_ms real not null)
"""
_INSERT = """
insert into peer_history (id, integration_id, status, latency_ms) values (%s, %s, %s, %s)
"""


class _Kept(threading.local):
    """What one thread keeps open."""

    def __init__(self) -> None:
        self.http = httpx.Client(timeout=10, trust_env=False)
        self.database = psycopg.connect(os.environ["PEER_DATABASE_URL"], autocommit=True)


_kept: _Kept | None = None


@app.task(name="check")  # type: ignore[untyped-decorator]  # the library has no types
def check(integration_id: str, endpoint: str) -> None:
    """Check one integration."""
    global _kept
    if _kept is None:
        # Not before: a forked process must not share its parent's connections.
        _kept = _Kept()
    answer = _kept.http.get(f"{endpoint}/api/v2.0/health")
    answer.raise_for_status()
    status = answer.json()["status"]
    milliseconds = answer.elapsed.total_seconds() * 1000
    _kept.database.execute(_INSERT, [uuid4(), UUID(integration_id), status, milliseconds])
