"""Accounts for every slot, check and alert, by witnesses that are none of ours."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.subscriber import OPENED, RESOLVED, Subscriber

# Every tenth has an outage of each kind: three failures, by which it is out, and two successes.
_SCRIPTS = """
case n %% 10
    when 0 then '{"script": ["healthy", "remote_error", "remote_error", "remote_error", "healthy"]}'
    when 1 then '{"script": ["tls", "tls", "tls", "tls", "healthy"]}'
    when 2 then '{"script": ["healthy", "bad_response", "healthy"]}'
    else '{}'
end
"""
_REGISTER = f"""
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select gen_random_uuid(), 'tenant-' || n %% 7, 'in-memory', 'tool-' || n,
        cast({_SCRIPTS} as jsonb), %s, %s
    from generate_series(1, %s) n returning id, tenant_id)
insert into schedule_state (integration_id, tenant_id, next_check_at)
select id, tenant_id, now() from added
"""
# A slot begins when a row that had none is claimed, and ends when its result is stored.
_WITNESS = (
    "create table soak_slots (integration_id uuid not null, opened boolean not null)",
    """
    create function soak_note() returns trigger language plpgsql security definer as $$
    begin
        insert into soak_slots values (new.integration_id, new.slot_at is not null);
        return null;
    end $$
    """,
    """
    create trigger soak_note after update on schedule_state for each row
    when ((old.slot_at is null) is distinct from (new.slot_at is null))
    execute function soak_note()
    """,
)
_LOST = """
select count(*) from (
    select count(*) filter (where opened) as opened, count(*) filter (where not opened) as closed
    from soak_slots group by integration_id) as slots
where opened <> closed
"""
_MISCOUNTED = """
select count(*) from schedule_state s
left join (select integration_id, count(*) as slots from soak_slots where not opened
           group by 1) as closed using (integration_id)
left join (select integration_id, count(*) as checks, count(distinct check_id) as different
           from health_checks group by 1) as history using (integration_id)
where coalesce(slots, 0) <> coalesce(checks, 0) or checks <> different or checks <> s.checks_done
"""
_OUT = """
select id::text from integrations where config_json -> 'script' ->> 1 in ('remote_error', 'tls')
"""
_FOUND = """
select coalesce(error_code, status) from health_checks where integration_id = %s order by checked_at
"""
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Account:
    """What the run came to. All but the first three are to be 0."""

    slots: int
    checks: int
    outages: int
    lost_slots: int
    miscounted: int
    """Integrations whose history is not one check for each slot."""
    wrong_alerts: int
    """Integrations whose subscriber did not hear one opened and one resolved for their outage."""
    wrong_changes: int
    """Integrations whose changes of status do not follow each other to what is stored."""
    unpublished: int
    examples: Sequence[str]
    """What was heard and found of some whose alerts were wrong."""

    @property
    def is_clean(self) -> bool:
        found = (self.lost_slots, self.miscounted, self.wrong_alerts, self.wrong_changes)
        return not any((*found, self.unpublished))


class Ledger:
    """The database under the soak."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def register(self, integrations: int, *, interval_seconds: int, timeout_seconds: int) -> None:
        for statement in _WITNESS:
            self._connection.execute(statement)
        self._connection.execute(_REGISTER, [interval_seconds, timeout_seconds, integrations])

    def pass_time(self, seconds: float) -> None:
        """Let the next slot of everyone who waits for one come so much sooner."""
        self._connection.execute(
            "update schedule_state set"
            " next_check_at = greatest(now(), next_check_at - make_interval(secs => %s))"
            " where slot_at is null and next_check_at > now()",
            [seconds],
        )

    def give_no_more_slots(self) -> None:
        self._connection.execute(
            "update schedule_state set next_check_at = now() + interval '1 day'"
            " where slot_at is null"
        )

    def open_slots(self) -> int:
        return self._number("select count(*) from schedule_state where slot_at is not null")

    def checks(self) -> int:
        return self._number("select coalesce(sum(checks_done), 0) from schedule_state")

    def fewest_checks(self) -> int:
        return self._number("select min(checks_done) from schedule_state")

    def unpublished(self) -> int:
        return self._number("select count(*) from outbox where published_at is null")

    def announced(self) -> set[str]:
        """The ids of all events of integrations."""
        rows = self._connection.execute(
            "select id::text from outbox where routing_key like 'integration.%'"
        )
        return {row[0] for row in rows.fetchall()}

    def account(self, subscriber: Subscriber) -> Account:
        outages = {row[0] for row in self._connection.execute(_OUT).fetchall()}
        statuses = {
            str(row[0]): str(row[1])
            for row in self._connection.execute("select id, status from integrations").fetchall()
        }
        wrong_alerts = _wrong_alerts(subscriber, outages)
        return Account(
            slots=self._number("select count(*) from soak_slots where opened"),
            checks=self._number("select count(*) from health_checks"),
            outages=len(outages),
            lost_slots=self._number(_LOST),
            miscounted=self._number(_MISCOUNTED),
            wrong_alerts=len(wrong_alerts),
            wrong_changes=_wrong_changes(subscriber, statuses),
            unpublished=self.unpublished(),
            examples=[self._told(each, subscriber) for each in wrong_alerts[:EXAMPLES]],
        )

    def _told(self, identifier: str, subscriber: Subscriber) -> str:
        heard = [each["type"].removeprefix("integration.") for each in subscriber.about(identifier)]
        found = self._connection.execute(_FOUND, [identifier]).fetchall()
        codes = [code for [code] in found]
        return f"{identifier}: heard {', '.join(heard)}; checks found {', '.join(codes)}"

    def _number(self, query: str) -> int:
        [number] = self._connection.execute(query).fetchone() or (0,)
        return int(number)


def _wrong_alerts(subscriber: Subscriber, outages: set[str]) -> list[str]:
    heard: dict[str, list[tuple[str, str]]] = {}
    for event in subscriber.of(OPENED, RESOLVED):
        heard.setdefault(event["subject"], []).append((event["type"], event["data"]["incidentId"]))
    wrong = []
    for identifier in outages | heard.keys():
        alerts = heard.get(identifier, [])
        incidents = {incident for _, incident in alerts}
        is_right = [kind for kind, _ in alerts] == [OPENED, RESOLVED] and len(incidents) == 1
        if not is_right or identifier not in outages:
            wrong.append(identifier)
    return wrong


def _wrong_changes(subscriber: Subscriber, statuses: dict[str, str]) -> int:
    followed: dict[str, str] = {}
    torn: Counter[str] = Counter()
    for event in subscriber.of("integration.health.changed"):
        data: dict[str, Any] = event["data"]
        subject = event["subject"]
        torn[subject] += followed.get(subject, "unknown") != data["previousStatus"]
        followed[subject] = data["status"]
    return sum(
        torn[identifier] > 0 or followed.get(identifier, "unknown") != status
        for identifier, status in statuses.items()
    )
