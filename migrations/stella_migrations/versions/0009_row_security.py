"""
Row-level security: the second lock on every table that belongs to tenants, and the roles it is for.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A role belongs to the whole server, where another database of ours may have made it already.
ROLES = """
do $$
declare
    name text;
begin
    foreach name in array array['stella_api', 'stella_system'] loop
        begin
            execute format('create role %I nologin nosuperuser nobypassrls', name);
        exception when duplicate_object or unique_violation then
            null;
        end;
        if not pg_has_role(current_user, name, 'member') then
            execute format('grant %I to current_user', name);
        end if;
        execute format('grant usage on schema public to %I', name);
    end loop;
end $$
"""

# An empty setting is what is left of a transaction that ended: as wrong as none at all.
TENANT = """
create function app_tenant() returns text language plpgsql stable parallel safe as $$
declare
    tenant text := current_setting('app.tenant_id', true);
begin
    if coalesce(tenant, '') = '' then
        raise exception 'the transaction names no tenant' using errcode = 'insufficient_privilege';
    end if;
    return tenant;
end $$
"""

POLICIES = """
create procedure protect_tenant_tables() language plpgsql as $$
declare
    name text;
begin
    for name in
        select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and not c.relispartition and a.attname = 'tenant_id' and not a.attisdropped
          and not c.relforcerowsecurity
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        -- In a query of its own, the tenant is asked for once a statement and not once a row.
        execute format('create policy tenant on %I to stella_api'
            ' using (tenant_id = (select app_tenant()))'
            ' with check (tenant_id = (select app_tenant()))', name);
        execute format('create policy system on %I to stella_system using (true) with check (true)',
            name);
    end loop;
end $$
"""

GRANTS = {
    "stella_api": {
        "select": (
            "integrations", "schedule_state", "health_checks", "status_transitions",
            "hourly_rollups", "daily_rollups", "late_checks", "history_progress", "check_requests",
            "incidents", "mutes", "audit_logs", "audit_heads", "plugin_metadata",
            "idempotency_keys", "outbox", "event_horizons", "webhooks", "webhook_state",
            "webhook_deliveries",
        ),
        "insert": (
            "integrations", "schedule_state", "status_transitions", "check_requests", "mutes",
            "audit_logs", "outbox", "idempotency_keys", "webhooks", "webhook_state",
            "webhook_deliveries",
        ),
        "update": (
            "integrations", "schedule_state", "check_requests", "incidents", "mutes",
            "idempotency_keys", "webhooks", "webhook_state", "webhook_deliveries",
        ),
        "delete": ("mutes", "webhooks"),
    },
    "stella_system": {
        "select": (
            "integrations", "schedule_state", "health_checks", "status_transitions",
            "hourly_rollups", "daily_rollups", "late_checks", "history_progress", "check_requests",
            "incidents", "mutes", "hub_conditions", "plugin_metadata", "outbox",
            "idempotency_keys", "event_horizons", "webhooks", "webhook_state",
            "webhook_deliveries", "webhook_cursor",
        ),
        "insert": (
            "health_checks", "status_transitions", "hourly_rollups", "daily_rollups",
            "late_checks", "incidents", "hub_conditions", "audit_logs", "plugin_metadata",
            "outbox", "event_horizons", "webhook_deliveries",
        ),
        "update": (
            "schedule_state", "hourly_rollups", "daily_rollups", "history_progress", "incidents",
            "hub_conditions", "plugin_metadata", "outbox", "event_horizons", "webhook_state",
            "webhook_deliveries", "webhook_cursor",
        ),
        "delete": (
            "hourly_rollups", "daily_rollups", "late_checks", "check_requests", "mutes",
            "hub_conditions", "outbox", "idempotency_keys", "webhook_deliveries",
        ),
    },
}  # fmt: skip

COLUMN_GRANTS = (
    # What the database adds to an entry is handed back to whoever writes it.
    "grant select (id, sequence, hash) on audit_logs to stella_system",
    # Checks change the status of an integration and nothing else of it.
    "grant update (status) on integrations to stella_system",
    # What may be locked is what may be updated, if only in a column that says nothing.
    "grant update (updated_at) on webhooks to stella_system",
    "grant update (starting_at) on late_checks to stella_system",
    # What has no partition yet is looked for by name.
    "grant select on health_checks_default, status_transitions_default to stella_system",
    "grant select on hourly_rollups_default, daily_rollups_default to stella_system",
)

# A tenant's request adds its own events, and commands, which are nobody's.
OUTBOX = (
    "drop policy tenant on outbox",
    """
    create policy tenant on outbox to stella_api using (tenant_id = (select app_tenant()))
        with check (tenant_id is null or tenant_id = (select app_tenant()))
    """,
)

# Only the owner may make and drop partitions, and move the head of an audit chain. The services
# ask by these functions, which do that and no more.
DEFINERS = (
    "create_health_check_partitions(integer)",
    "add_history_partition(text, text, text, timestamptz, timestamptz)",
    "lock_history(regclass)",
    "drop_history_partition(text)",
    "chain_audit_entry()",
)
LOCK_HISTORY = """
create function lock_history(parent regclass) returns void language plpgsql as $$
begin
    if parent <> all(array['health_checks', 'status_transitions', 'hourly_rollups',
        'daily_rollups']::regclass[])
    then
        raise exception '% is no table of the history', parent
            using errcode = 'insufficient_privilege';
    end if;
    execute format('lock table only %s in access exclusive mode', parent);
end $$
"""
DROP_PARTITION = """
create or replace function drop_history_partition(name text) returns void language plpgsql as $$
begin
    if not exists (
        select from pg_inherits i
        where i.inhrelid = to_regclass(name) and i.inhparent = any(array['health_checks',
            'status_transitions', 'hourly_rollups', 'daily_rollups']::regclass[]))
    then
        raise exception '% is no partition of the history', name
            using errcode = 'insufficient_privilege';
    end if;
    execute format('drop table %I', name);
end $$
"""


def upgrade() -> None:
    op.execute(ROLES)
    op.execute(TENANT)
    op.execute(POLICIES)
    op.execute("call protect_tenant_tables()")
    op.execute("create policy owner on audit_heads to current_user using (true) with check (true)")
    for statement in OUTBOX:
        op.execute(statement)
    for role, privileges in GRANTS.items():
        for privilege, tables in privileges.items():
            op.execute(f"grant {privilege} on {', '.join(tables)} to {role}")
    for grant in COLUMN_GRANTS:
        op.execute(grant)
    op.execute(LOCK_HISTORY)
    op.execute(DROP_PARTITION)
    for function in DEFINERS:
        op.execute(f"alter function {function} security definer set search_path = public, pg_temp")
        op.execute(f"revoke execute on function {function} from public")
        op.execute(f"grant execute on function {function} to stella_system")


def downgrade() -> None:
    for function in DEFINERS:
        op.execute(f"alter function {function} security invoker reset search_path")
        op.execute(f"grant execute on function {function} to public")
    op.execute(
        """
        do $$
        declare
            protected record;
        begin
            for protected in select tablename, policyname from pg_policies
                where schemaname = 'public'
            loop
                execute format('drop policy %I on %I', protected.policyname, protected.tablename);
                execute format('alter table %I no force row level security', protected.tablename);
                execute format('alter table %I disable row level security', protected.tablename);
            end loop;
        end $$
        """
    )
    op.execute("drop function lock_history(regclass)")
    op.execute("drop procedure protect_tenant_tables()")
    op.execute("drop function app_tenant()")
    # The roles stay: another database of this server may use them.
    op.execute("drop owned by stella_api, stella_system")
