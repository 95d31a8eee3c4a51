"""
The schedule counts the slots that it missed, and remembers when it put a late row off.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "alter table schedule_state"
        " add column missed_slots bigint not null default 0,"
        " add column put_off_at timestamptz"
    )
    op.execute(
        "comment on column schedule_state.missed_slots is"
        " 'Slots that passed without a check of their own.'"
    )
    op.execute(
        "comment on column schedule_state.put_off_at is"
        " 'When it was found so late that it was put off, to spread what follows a downtime.'"
    )


def downgrade() -> None:
    op.execute("alter table schedule_state drop column put_off_at, drop column missed_slots")
