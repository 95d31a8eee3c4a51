"""
Events are read from the outbox: whose they are, their type, and an order safe to resume in.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A sequence is drawn when a row is written and seen when it is committed, so a reader that
# remembers the highest one misses what is committed late. Transactions below the oldest that
# still runs are all over: in the order of transactions nothing appears behind a reader.
STATEMENTS = (
    # tenant_id is null for commands and for events of the installation.
    """
    alter table outbox
        add column tenant_id text,
        add column event_type text,
        add column transaction_id bigint not null
            default (pg_current_xact_id()::text::bigint)
    """,
    """
    create index ix_outbox_tenant_id_transaction_id_sequence
        on outbox (tenant_id, transaction_id, sequence) where tenant_id is not null
    """,
    # Up to where each tenant's events have been deleted: who comes back with an older place
    # is told so, and nobody else.
    """
    create table event_horizons (
        tenant_id text constraint pk_event_horizons primary key,
        transaction_id bigint not null,
        sequence bigint not null
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop table event_horizons")
    op.execute("drop index ix_outbox_tenant_id_transaction_id_sequence")
    op.execute(
        "alter table outbox drop column transaction_id, drop column event_type,"
        " drop column tenant_id"
    )
