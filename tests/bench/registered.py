"""Many integrations at once, as a long-running hub has them: checked before, due at all times."""

import psycopg

_INTEGRATIONS = """
insert into integrations (id, tenant_id, type, name, config_json, status, check_interval_seconds,
    check_timeout_seconds)
select gen_random_uuid(), 'tenant-' || n %% 100, 'harbor', 'registry-' || n,
    jsonb_build_object('endpoint', 'https://registry-' || n || '.test'), 'healthy',
    %(interval)s, 10
from generate_series(1, %(integrations)s) n
"""
# Each is due once within its own period, so the database's jitter holds from the start.
_SCHEDULE = """
insert into schedule_state (integration_id, tenant_id, next_check_at, checks_done, connection)
select id, tenant_id, now() + check_period(id, check_interval_seconds) * random(), 1, '{}'
from integrations
"""


def register(connection: psycopg.Connection, integrations: int, *, interval_seconds: int) -> None:
    """Fill an empty catalog."""
    connection.execute("set synchronous_commit = off")
    connection.execute(_INTEGRATIONS, {"integrations": integrations, "interval": interval_seconds})
    connection.execute(_SCHEDULE)
    connection.execute("vacuum analyze")
    # Or what is measured next would write out what was registered here.
    connection.execute("checkpoint")
