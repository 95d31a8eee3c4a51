"""
Alerts apart from incidents: flapping, mutes, parent incidents, reminders, our own health.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    alter table schedule_state
        add column result_changes integer not null default 0,
        add column status_changes integer not null default 0,
        add column flapping_since timestamptz,
        add column told_status text
    """,
    # The default is for workers of the release before: what they open, they announce.
    """
    alter table incidents
        alter column integration_id drop not null,
        add column scope text
            constraint ck_incidents_scope check (scope in ('host', 'vault')),
        add column origin text,
        add column parent_id uuid
            constraint fk_incidents_parent_id references incidents (id) on delete set null,
        add column affected integer not null default 1,
        add column announced_at timestamptz default now(),
        add column reminded_at timestamptz,
        add constraint ck_incidents_subject
            check (integration_id is not null or (scope is not null and origin is not null))
    """,
    "update incidents set announced_at = opened_at",
    # One parent an origin: the constraint is the check.
    """
    create unique index uq_incidents_tenant_id_scope_origin_open
        on incidents (tenant_id, scope, origin)
        where resolved_at is null and integration_id is null
    """,
    """
    create index ix_incidents_tenant_id_scope_origin_open
        on incidents (tenant_id, scope, origin) where resolved_at is null
    """,
    """
    create index ix_incidents_unannounced on incidents (id)
        where resolved_at is null and announced_at is null and parent_id is null
    """,
    """
    create index ix_incidents_announced_at_open on incidents (announced_at)
        where resolved_at is null and parent_id is null
    """,
    """
    create index ix_incidents_parent_id_open on incidents (parent_id)
        where resolved_at is null and parent_id is not null
    """,
    """
    create table mutes (
        id uuid not null,
        tenant_id text not null,
        integration_id uuid
            constraint fk_mutes_integration_id references integrations (id) on delete cascade,
        type text,
        tag text,
        reason text not null,
        starts_at timestamptz not null,
        ends_at timestamptz not null,
        created_by text not null,
        created_at timestamptz not null default now(),
        constraint pk_mutes primary key (tenant_id, id),
        constraint ck_mutes_span check (ends_at > starts_at)
    )
    """,
    "create index ix_mutes_tenant_id_ends_at on mutes (tenant_id, ends_at)",
    """
    create table hub_conditions (
        condition text not null,
        worker text not null,
        detail text not null,
        since timestamptz not null default now(),
        seen_at timestamptz not null default now(),
        constraint pk_hub_conditions primary key (condition, worker)
    )
    """,
)

DOWNGRADE = (
    "drop table hub_conditions",
    "drop table mutes",
    "drop index ix_incidents_parent_id_open",
    "drop index ix_incidents_announced_at_open",
    "drop index ix_incidents_unannounced",
    "drop index ix_incidents_tenant_id_scope_origin_open",
    "drop index uq_incidents_tenant_id_scope_origin_open",
    "delete from incidents where integration_id is null",
    """
    alter table incidents
        drop constraint ck_incidents_subject,
        drop column reminded_at,
        drop column announced_at,
        drop column affected,
        drop column parent_id,
        drop column origin,
        drop column scope,
        alter column integration_id set not null
    """,
    """
    alter table schedule_state
        drop column told_status,
        drop column flapping_since,
        drop column status_changes,
        drop column result_changes
    """,
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
