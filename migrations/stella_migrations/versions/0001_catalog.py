"""
The catalog: integrations, their schedule and history, incidents, audit, plugins, outbox.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTEGRATIONS = """
create table integrations (
    id uuid constraint pk_integrations primary key,
    tenant_id text not null,
    type text not null,
    name text not null,
    description text not null default '',
    config_json jsonb not null,
    auth_ref_uri text,
    tags text[] not null default '{}',
    enabled boolean not null default true,
    status text not null default 'unknown'
        constraint ck_integrations_status
        check (status in ('unknown', 'healthy', 'degraded', 'unhealthy', 'disabled')),
    check_interval_seconds integer not null
        constraint ck_integrations_interval check (check_interval_seconds between 30 and 86400),
    check_timeout_seconds integer not null
        constraint ck_integrations_timeout check (check_timeout_seconds between 1 and 60),
    failure_threshold integer not null default 3
        constraint ck_integrations_failure_threshold check (failure_threshold between 1 and 20),
    success_threshold integer not null default 2
        constraint ck_integrations_success_threshold check (success_threshold between 1 and 20),
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz
);
-- A name can be used again once its holder is deleted.
create unique index uq_integrations_tenant_id_name on integrations (tenant_id, name)
    where deleted_at is null;
create index ix_integrations_tenant_id_type_id on integrations (tenant_id, type, id)
    where deleted_at is null;
create index ix_integrations_tenant_id_id on integrations (tenant_id, id)
    where deleted_at is null;
create index ix_integrations_tenant_id_updated_at_id on integrations (tenant_id, updated_at, id)
    where deleted_at is null;
"""

SCHEDULE_STATE = """
-- Apart from the catalog row, so that a check never rewrites it or waits for an edit.
create table schedule_state (
    integration_id uuid
        constraint pk_schedule_state primary key
        constraint fk_schedule_state_integration_id references integrations (id) on delete cascade,
    tenant_id text not null,
    next_check_at timestamptz,
    slot_at timestamptz,
    lease_token bigint not null default 0,
    checks_done bigint not null default 0,
    status_since timestamptz not null default now(),
    consecutive_failures integer not null default 0,
    consecutive_successes integer not null default 0,
    failing_since timestamptz,
    last_check jsonb,
    last_healthy_at timestamptz,
    connection jsonb
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
comment on column schedule_state.next_check_at is
    'When it is due; while a check is leased, when the lease ends; null while disabled or deleted.';
comment on column schedule_state.slot_at is
    'When the check that is leased now was due; null while none is.';
comment on column schedule_state.lease_token is
    'Counts the leases. A result with an older token is not counted.';
create index ix_schedule_state_next_check_at on schedule_state (next_check_at)
    where next_check_at is not null;

-- The interval of one integration: +- 10 %, always the same for one id, so that many that were
-- registered together do not stay together.
create function check_period(integration_id uuid, interval_seconds integer) returns interval
    language sql immutable parallel safe
    return make_interval(secs => interval_seconds
        * (0.9 + 0.2 * (hashtextextended(integration_id::text, 0) & 65535) / 65535.0));
"""

HEALTH_CHECKS = """
create table health_checks (
    check_id uuid not null,
    tenant_id text not null,
    integration_id uuid not null,
    checked_at timestamptz not null,
    status text not null
        constraint ck_health_checks_status
        check (status in ('healthy', 'degraded', 'unhealthy', 'unknown')),
    latency_ms integer not null,
    error_message text,
    error_code text,
    trigger text not null
        constraint ck_health_checks_trigger check (trigger in ('schedule', 'on_demand', 'draft')),
    steps jsonb not null default '[]',
    worker text not null,
    integration_version integer not null,
    constraint pk_health_checks primary key (checked_at, check_id)
) partition by range (checked_at);
create index ix_health_checks_integration_id_checked_at
    on health_checks (integration_id, checked_at desc, check_id desc);
-- History is written even if nobody made the day's partition in time.
create table health_checks_default partition of health_checks default;

create function create_health_check_partitions(days_ahead integer) returns integer
    language plpgsql as $$
declare
    made integer := 0;
    -- Days are UTC days whatever the session's time zone is.
    first_day date := (now() at time zone 'UTC')::date;
begin
    for ahead in 0..days_ahead loop
        if to_regclass('health_checks_' || to_char(first_day + ahead, 'YYYYMMDD')) is null then
            execute format(
                'create table if not exists %I partition of health_checks'
                ' for values from (%L) to (%L)',
                'health_checks_' || to_char(first_day + ahead, 'YYYYMMDD'),
                (first_day + ahead)::timestamp at time zone 'UTC',
                (first_day + ahead + 1)::timestamp at time zone 'UTC');
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;
select create_health_check_partitions(7);
"""

CHECK_REQUESTS = """
-- Checks that somebody asked for and that have not finished: at most one an integration.
create table check_requests (
    check_id uuid constraint pk_check_requests primary key,
    tenant_id text not null,
    integration_id uuid not null
        constraint uq_check_requests_integration_id unique
        constraint fk_check_requests_integration_id references integrations (id) on delete cascade,
    trigger text not null,
    requested_by text not null,
    requested_at timestamptz not null default now(),
    expires_at timestamptz not null
);
"""

INCIDENTS = """
create table incidents (
    id uuid constraint pk_incidents primary key,
    tenant_id text not null,
    integration_id uuid not null
        constraint fk_incidents_integration_id references integrations (id) on delete cascade,
    since timestamptz not null,
    opened_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    resolved_at timestamptz,
    error_code text,
    error_message text
);
-- One outage is one incident: the constraint is the check.
create unique index uq_incidents_integration_id_open on incidents (integration_id)
    where resolved_at is null;
create index ix_incidents_integration_id_opened_at on incidents (integration_id, opened_at desc);
"""

AUDIT_LOGS = """
create table audit_logs (
    id uuid constraint pk_audit_logs primary key,
    tenant_id text not null,
    actor text not null,
    action text not null,
    integration_id uuid,
    timestamp timestamptz not null default now(),
    request_id text not null,
    outcome text not null,
    details jsonb not null default '{}'
);
create index ix_audit_logs_tenant_id_id on audit_logs (tenant_id, id desc);
create index ix_audit_logs_tenant_id_integration_id_id
    on audit_logs (tenant_id, integration_id, id desc);

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit_logs is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger tr_audit_logs_append_only before update or delete on audit_logs
    for each row execute function refuse_audit_change();
create trigger tr_audit_logs_no_truncate before truncate on audit_logs
    for each statement execute function refuse_audit_change();
"""

PLUGIN_METADATA = """
create table plugin_metadata (
    path text constraint pk_plugin_metadata primary key,
    plugin_id text not null,
    type text,
    version text,
    capabilities text[] not null default '{}',
    trust text not null,
    state text not null
        constraint ck_plugin_metadata_state
        check (state in ('ready', 'refused', 'error', 'conflict', 'removed')),
    last_error text,
    digest text,
    manifest jsonb,
    registered_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
-- One type has one provider.
create unique index uq_plugin_metadata_type_ready on plugin_metadata (type) where state = 'ready';
"""

OUTBOX = """
create table outbox (
    sequence bigint generated always as identity constraint pk_outbox primary key,
    id uuid not null constraint uq_outbox_id unique,
    ordering_key text not null,
    exchange text not null,
    routing_key text not null,
    body bytea not null,
    headers jsonb not null default '{}',
    created_at timestamptz not null default now(),
    attempts integer not null default 0,
    available_at timestamptz not null default now(),
    leased_until timestamptz,
    published_at timestamptz
) with (autovacuum_vacuum_scale_factor = 0.01);
create index ix_outbox_unpublished on outbox (sequence) where published_at is null;
create index ix_outbox_unpublished_key on outbox (ordering_key, sequence)
    where published_at is null;
create index ix_outbox_published_at on outbox (published_at) where published_at is not null;

create table idempotency_keys (
    tenant_id text not null,
    actor text not null,
    key text not null,
    request_hash bytea not null,
    status integer,
    headers jsonb,
    body bytea,
    created_at timestamptz not null default now(),
    constraint pk_idempotency_keys primary key (tenant_id, actor, key)
);
create index ix_idempotency_keys_created_at on idempotency_keys (created_at);
"""


def _run(script: str) -> None:
    # asyncpg prepares one statement at a time; function bodies hold semicolons of their own.
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        inside_body = statement.count("$$") % 2 == 1
        if line.rstrip().endswith(";") and not inside_body:
            op.execute(statement)
            statement = ""


def upgrade() -> None:
    for script in (
        INTEGRATIONS,
        SCHEDULE_STATE,
        HEALTH_CHECKS,
        CHECK_REQUESTS,
        INCIDENTS,
        AUDIT_LOGS,
        PLUGIN_METADATA,
        OUTBOX,
    ):
        _run(script)


def downgrade() -> None:
    for table in (
        "idempotency_keys",
        "outbox",
        "plugin_metadata",
        "audit_logs",
        "incidents",
        "check_requests",
        "health_checks",
        "schedule_state",
        "integrations",
    ):
        op.execute(f"drop table {table}")
    op.execute("drop function refuse_audit_change()")
    op.execute("drop function create_health_check_partitions(integer)")
    op.execute("drop function check_period(uuid, integer)")
