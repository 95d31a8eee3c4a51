"""
The schedule knows how often and how long to check, so that a tick reads no catalog row.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Copies, which the database keeps: whoever writes either table, in whatever release.
STATEMENTS = (
    """
    alter table schedule_state
        add column period interval not null default interval '300 s',
        add column timeout interval not null default interval '10 s'
    """,
    """
    comment on column schedule_state.period is
        'From slot to slot: kept in step with the interval in integrations.'
    """,
    """
    comment on column schedule_state.timeout is
        'Of one check: kept in step with the one in integrations.'
    """,
    """
    create function schedule_state_read_catalog() returns trigger language plpgsql as $$
    begin
        select check_period(i.id, i.check_interval_seconds),
            make_interval(secs => i.check_timeout_seconds)
        into new.period, new.timeout from integrations i where i.id = new.integration_id;
        return new;
    end $$
    """,
    """
    create trigger schedule_state_read_catalog before insert on schedule_state
        for each row execute function schedule_state_read_catalog()
    """,
    """
    create function integrations_tell_schedule() returns trigger language plpgsql as $$
    begin
        update schedule_state set period = check_period(new.id, new.check_interval_seconds),
            timeout = make_interval(secs => new.check_timeout_seconds)
        where integration_id = new.id;
        return null;
    end $$
    """,
    """
    create trigger integrations_tell_schedule
        after update of check_interval_seconds, check_timeout_seconds on integrations for each row
        when ((old.check_interval_seconds, old.check_timeout_seconds)
            is distinct from (new.check_interval_seconds, new.check_timeout_seconds))
        execute function integrations_tell_schedule()
    """,
    """
    update schedule_state s set period = check_period(i.id, i.check_interval_seconds),
        timeout = make_interval(secs => i.check_timeout_seconds)
    from integrations i where i.id = s.integration_id
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop trigger integrations_tell_schedule on integrations")
    op.execute("drop function integrations_tell_schedule()")
    op.execute("drop trigger schedule_state_read_catalog on schedule_state")
    op.execute("drop function schedule_state_read_catalog()")
    op.execute("alter table schedule_state drop column timeout, drop column period")
