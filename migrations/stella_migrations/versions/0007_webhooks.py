"""
Outbound webhooks: who wants to be called, what is to be delivered, and how it went.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table webhooks (
        id uuid constraint pk_webhooks primary key,
        tenant_id text not null,
        url text not null,
        description text not null default '',
        event_types text[] not null default '{}',
        enabled boolean not null default true,
        auth_ref_uri text not null,
        version integer not null default 1,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now()
    )
    """,
    "create unique index uq_webhooks_tenant_id_id on webhooks (tenant_id, id)",
    # Apart from the configuration, so that deliveries never rewrite it or wait for an edit.
    # due_at: when there is something to send. not_before: a pause after failures, or until the
    # daily trial of one that was disabled.
    """
    create table webhook_state (
        webhook_id uuid
            constraint pk_webhook_state primary key
            constraint fk_webhook_state_webhook_id references webhooks (id) on delete cascade,
        tenant_id text not null,
        due_at timestamptz,
        not_before timestamptz,
        leased_until timestamptz,
        lease_token bigint not null default 0,
        consecutive_failures integer not null default 0,
        failing_since timestamptz,
        disabled_reason text
            constraint ck_webhook_state_disabled_reason
            check (disabled_reason in ('failing', 'gone')),
        disabled_at timestamptz,
        last_success_at timestamptz,
        last_failure_at timestamptz,
        last_error text
    ) with (fillfactor = 70)
    """,
    "create index ix_webhook_state_due_at on webhook_state (due_at) where due_at is not null",
    """
    create table webhook_deliveries (
        id uuid constraint pk_webhook_deliveries primary key,
        tenant_id text not null,
        webhook_id uuid not null
            constraint fk_webhook_deliveries_webhook_id
            references webhooks (id) on delete cascade,
        event_id uuid not null,
        event_type text not null,
        subject text not null,
        body bytea not null,
        transaction_id bigint not null,
        sequence bigint not null,
        state text not null default 'pending'
            constraint ck_webhook_deliveries_state
            check (state in ('pending', 'delivered', 'failed', 'dropped')),
        tries integer not null default 0,
        next_attempt_at timestamptz,
        attempts jsonb not null default '[]',
        created_at timestamptz not null default now(),
        finished_at timestamptz
    ) with (fillfactor = 80)
    """,
    # An event is queued for an endpoint once, whoever queues it how often.
    """
    create unique index uq_webhook_deliveries_tenant_id_webhook_id_event_id
        on webhook_deliveries (tenant_id, webhook_id, event_id)
    """,
    """
    create index ix_webhook_deliveries_tenant_id_webhook_id_id
        on webhook_deliveries (tenant_id, webhook_id, id desc)
    """,
    """
    create index ix_webhook_deliveries_pending
        on webhook_deliveries (webhook_id, transaction_id, sequence) where state = 'pending'
    """,
    """
    create index ix_webhook_deliveries_pending_subject
        on webhook_deliveries (webhook_id, subject, transaction_id, sequence)
        where state = 'pending'
    """,
    "create index ix_webhook_deliveries_created_at on webhook_deliveries (created_at)",
    # Up to where the events of all tenants have been queued: one row.
    """
    create table webhook_cursor (
        id integer constraint pk_webhook_cursor primary key
            constraint ck_webhook_cursor_one check (id = 1),
        transaction_id bigint not null,
        sequence bigint not null
    )
    """,
    """
    insert into webhook_cursor (id, transaction_id, sequence)
    values (1, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 0)
    """,
    """
    create index ix_outbox_transaction_id_sequence
        on outbox (transaction_id, sequence) where tenant_id is not null
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop index ix_outbox_transaction_id_sequence")
    for table in ("webhook_cursor", "webhook_deliveries", "webhook_state", "webhooks"):
        op.execute(f"drop table {table}")
