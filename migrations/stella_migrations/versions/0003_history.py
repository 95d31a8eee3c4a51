"""
History by age: status transitions, roll-ups that outlive the checks, partitions made and dropped.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TRANSITIONS = (
    """
    create table status_transitions (
        id uuid not null,
        tenant_id text not null,
        integration_id uuid not null,
        at timestamptz not null,
        from_status text not null,
        to_status text not null,
        error_code text,
        incident_id uuid,
        constraint pk_status_transitions primary key (tenant_id, integration_id, at, id)
    ) partition by range (at)
    """,
    "create table status_transitions_default partition of status_transitions default",
)

_ROLLUPS = """
    create table {name} (
        tenant_id text not null,
        integration_id uuid not null,
        starting_at timestamptz not null,
        healthy integer not null,
        degraded integer not null,
        unhealthy integer not null,
        unknown integer not null,
        latency_ms_total bigint not null,
        latency_ms_max integer not null,
        constraint pk_{name} primary key (tenant_id, integration_id, starting_at)
    ) partition by range (starting_at)
    """
ROLLUPS = (
    _ROLLUPS.format(name="hourly_rollups"),
    "create table hourly_rollups_default partition of hourly_rollups default",
    _ROLLUPS.format(name="daily_rollups"),
    "create table daily_rollups_default partition of daily_rollups default",
    """
    create table history_progress (
        id boolean not null default true
            constraint pk_history_progress primary key
            constraint ck_history_progress_one_row check (id),
        rolled_until timestamptz not null,
        raw_since timestamptz not null
    )
    """,
    """
    comment on column history_progress.rolled_until is 'Hours that begin before it are rolled up.'
    """,
    """
    comment on column history_progress.raw_since is
        'Checks from it on are all there; of the days before it, partitions have been dropped.'
    """,
    # What is there already is rolled up hour by hour, as after a long downtime.
    """
    insert into history_progress (rolled_until, raw_since)
    select date_trunc('hour', coalesce(min(checked_at), now()), 'UTC'), '-infinity'
    from health_checks
    """,
    """
    create table late_checks (
        tenant_id text not null,
        integration_id uuid not null,
        starting_at timestamptz not null,
        constraint pk_late_checks primary key (tenant_id, integration_id, starting_at)
    )
    """,
    # A check that is stored long after it ran may belong to an hour that is rolled up. Such an
    # hour is marked, in the transaction that stores the check, and rolled up again.
    """
    create function note_late_check() returns trigger language plpgsql as $$
    begin
        insert into late_checks (tenant_id, integration_id, starting_at)
        values (new.tenant_id, new.integration_id, date_trunc('hour', new.checked_at, 'UTC'))
        -- Not `do nothing`: who forgets the mark has to wait for us, or we make another one.
        on conflict (tenant_id, integration_id, starting_at)
            do update set starting_at = excluded.starting_at;
        return null;
    end $$
    """,
    """
    create trigger tr_health_checks_late after insert on health_checks for each row
    when (new.checked_at < clock_timestamp() - interval '15 minutes')
    execute function note_late_check()
    """,
)

PARTITIONS = (
    # A range of which the default partition holds rows cannot be made by `create table …
    # partition of`. So the rows move, in one transaction, with which the range begins to exist.
    """
    create function add_history_partition(
        parent text, key text, name text, starts timestamptz, ends timestamptz
    ) returns bigint language plpgsql as $$
    declare
        moved bigint;
    begin
        -- Nobody adds to the default partition meanwhile; readers are kept out by the attaching
        -- alone. The parent is not locked: what belongs to other partitions is stored.
        execute format('lock table %I in share row exclusive mode', parent || '_default');
        if to_regclass(name) is not null then
            return 0;
        end if;
        execute format(
            'create table %I (like %I including defaults including constraints)', name, parent);
        execute format(
            'with moved as (delete from %I where %I >= %L and %I < %L returning *)'
            ' insert into %I select * from moved',
            parent || '_default', key, starts, key, ends, name);
        get diagnostics moved = row_count;
        execute format(
            'alter table %I attach partition %I for values from (%L) to (%L)',
            parent, name, starts, ends);
        return moved;
    end $$
    """,
    """
    create function drop_history_partition(name text) returns void language plpgsql as $$
    begin
        execute format('drop table %I', name);
    end $$
    """,
)


def upgrade() -> None:
    for statement in (*TRANSITIONS, *ROLLUPS, *PARTITIONS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop function drop_history_partition(text)")
    op.execute("drop function add_history_partition(text, text, text, timestamptz, timestamptz)")
    op.execute("drop trigger tr_health_checks_late on health_checks")
    op.execute("drop function note_late_check()")
    for table in (
        "late_checks",
        "history_progress",
        "daily_rollups",
        "hourly_rollups",
        "status_transitions",
    ):
        op.execute(f"drop table {table}")
