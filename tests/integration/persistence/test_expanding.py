"""Revisions only add: services of an earlier release go on while they are applied, and after."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from alembic.script import ScriptDirectory
from tests.support.postgres import migrate

from stella_migrations.commands import configuration

FIRST = "0001"
REVISIONS = [
    each.revision
    for each in reversed(
        list(ScriptDirectory.from_config(configuration("postgresql://nobody@/")).walk_revisions())
    )
]
COLUMNS = """
select table_name || '.' || column_name, table_name, data_type,
    is_nullable = 'YES' or column_default is not null or is_identity = 'YES'
from information_schema.columns where table_schema = 'public' and table_name !~ '_[0-9]{6,}$'
"""
FUNCTIONS = """
select proname || '(' || pg_get_function_identity_arguments(oid) || ')' from pg_proc
where pronamespace = 'public'::regnamespace
"""
# What the processes of the first release write, in the words that they had for it.
REGISTER = """
insert into integrations (id, tenant_id, type, name, description, config_json, auth_ref_uri, tags,
    enabled, status, check_interval_seconds, check_timeout_seconds, failure_threshold,
    success_threshold, version)
values (%(id)s, 'acme', 'harbor', %(name)s, '', '{}', null, '{}', true, 'unknown', 300, 10, 3, 2, 1)
"""
STATEMENTS = (
    REGISTER,
    """
    insert into schedule_state (integration_id, tenant_id, next_check_at, lease_token, checks_done,
        status_since, consecutive_failures, consecutive_successes)
    values (%(id)s, 'acme', now(), 0, 0, now(), 0, 0)
    """,
    """
    insert into audit_logs (id, tenant_id, actor, action, integration_id, timestamp, request_id,
        outcome, details)
    values (%(id)s, 'acme', 'alice', 'integration.created', %(id)s, now(), 'r', 'success', '{}')
    """,
    """
    insert into outbox (id, ordering_key, exchange, routing_key, body)
    values (%(id)s, %(name)s, 'stella.integrations.events', 'integration.created.harbor.acme', '{}')
    """,
    """
    update schedule_state set lease_token = lease_token + 1,
        slot_at = coalesce(slot_at, next_check_at), next_check_at = now() + interval '40 s'
    where integration_id = %(id)s
    """,
    """
    insert into health_checks (check_id, tenant_id, integration_id, checked_at, status, latency_ms,
        error_message, error_code, trigger, steps, worker, integration_version)
    values (%(id)s, 'acme', %(id)s, now(), 'unhealthy', 7, 'm', 'connect', 'schedule', '[]', 'w', 1)
    """,
    """
    update schedule_state s set slot_at = null,
        next_check_at = s.slot_at + check_period(%(id)s, 300), checks_done = s.checks_done + 1,
        consecutive_failures = 3, failing_since = now()
    where integration_id = %(id)s
    """,
    "update integrations set status = 'unhealthy' where id = %(id)s",
    """
    insert into incidents (id, tenant_id, integration_id, since, opened_at, updated_at)
    values (%(id)s, 'acme', %(id)s, now(), now(), now()) on conflict do nothing
    """,
    """
    update outbox set leased_until = now() + interval '30 s', attempts = attempts + 1
    where id = %(id)s
    """,
    "update outbox set published_at = now(), leased_until = null where id = %(id)s",
)


def columns(url: str) -> dict[str, tuple[str, str, bool]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(COLUMNS).fetchall()
    return {str(row[0]): (str(row[1]), str(row[2]), bool(row[3])) for row in found}


def functions(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {str(row[0]) for row in connection.execute(FUNCTIONS).fetchall()}


def test_no_revision_takes_away_what_the_one_before_it_had(empty_database_url: str) -> None:
    url = empty_database_url
    migrate(url, FIRST)
    for revision in REVISIONS[1:]:
        columns_before, functions_before = columns(url), functions(url)
        migrate(url, revision)
        columns_after = columns(url)

        kept = {name: columns_after.get(name) for name in columns_before}
        assert {n: c and c[:2] for n, c in kept.items()} == {
            n: c[:2] for n, c in columns_before.items()
        }, f"{revision} takes a column away, or changes its type"
        stricter = {n for n, c in columns_before.items() if c[2] and not columns_after[n][2]}
        assert not stricter, f"{revision} no longer lets these be left out"
        assert functions_before <= functions(url), f"{revision} takes a function away"


class OldProcess(threading.Thread):
    """Writes as the first release did, again and again."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._stopping = threading.Event()
        self.rounds = 0
        self.error: psycopg.Error | None = None

    def run(self) -> None:
        with psycopg.connect(self._url) as connection:
            while not self._stopping.is_set():
                try:
                    with connection.transaction():
                        identifier = uuid4()
                        values = {"id": identifier, "name": str(identifier)}
                        for statement in STATEMENTS:
                            connection.execute(statement, values)
                except psycopg.errors.DeadlockDetected:
                    # The revision was in the way: run again, as the services do.
                    continue
                except psycopg.Error as error:
                    self.error = error
                    return
                self.rounds += 1

    def end(self) -> None:
        self._stopping.set()
        self.join(30)


@contextmanager
def running(process: OldProcess) -> Iterator[None]:
    process.start()
    try:
        yield
    finally:
        process.end()


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_a_process_of_the_first_release_works_before_during_and_after_a_revision(
    empty_database_url: str, revision: str
) -> None:
    migrate(empty_database_url, REVISIONS[REVISIONS.index(revision) - 1])
    process = OldProcess(empty_database_url)

    with running(process):
        while not process.rounds and process.error is None:
            process.join(0.01)
        migrate(empty_database_url, revision)
        rounds = process.rounds
        while process.rounds < rounds + 3 and process.error is None:
            process.join(0.01)

    assert process.error is None
