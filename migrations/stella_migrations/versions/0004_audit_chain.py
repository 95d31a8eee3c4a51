"""
The audit log of each tenant becomes a chain: an entry holds a hash over itself and the one before.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HEADS = """
create table audit_heads (
    tenant_id text constraint pk_audit_heads primary key,
    sequence bigint not null,
    hash bytea not null
)
"""

# The first element is the version of the form, for the day that another one is needed.
HASH = """
create function audit_hash(entry audit_logs, previous bytea) returns bytea
    language sql stable parallel safe
    return sha256(previous || convert_to(jsonb_build_array(1, entry.tenant_id, entry.sequence,
        entry.id, entry.actor, entry.action, entry.integration_id,
        extract(epoch from entry.timestamp), entry.request_id, entry.outcome, entry.details
    )::text, 'UTF8'))
"""

# The row of the head is locked until the transaction ends, so that two entries of a tenant
# cannot follow the same one. Entries are written last in a transaction: it is held shortly.
CHAIN = """
create function chain_audit_entry() returns trigger language plpgsql as $$
declare
    head audit_heads;
begin
    insert into audit_heads (tenant_id, sequence, hash) values (new.tenant_id, 0, ''::bytea)
        on conflict do nothing;
    select * into strict head from audit_heads where tenant_id = new.tenant_id for update;
    new.sequence := head.sequence + 1;
    new.hash := audit_hash(new, head.hash);
    update audit_heads set sequence = new.sequence, hash = new.hash
        where tenant_id = new.tenant_id;
    return new;
end $$
"""

BACKFILL = """
do $$
declare
    entry audit_logs;
    head audit_heads;
begin
    for entry in select * from audit_logs order by tenant_id, id loop
        insert into audit_heads (tenant_id, sequence, hash) values (entry.tenant_id, 0, ''::bytea)
            on conflict do nothing;
        select * into strict head from audit_heads where tenant_id = entry.tenant_id;
        entry.sequence := head.sequence + 1;
        entry.hash := audit_hash(entry, head.hash);
        update audit_logs set sequence = entry.sequence, hash = entry.hash where id = entry.id;
        update audit_heads set sequence = entry.sequence, hash = entry.hash
            where tenant_id = entry.tenant_id;
    end loop;
end $$
"""


def upgrade() -> None:
    op.execute(HEADS)
    op.execute("alter table audit_logs add column sequence bigint, add column hash bytea")
    op.execute(HASH)
    op.execute(CHAIN)
    op.execute("alter table audit_logs disable trigger tr_audit_logs_append_only")
    op.execute(BACKFILL)
    op.execute("alter table audit_logs enable trigger tr_audit_logs_append_only")
    op.execute(
        "alter table audit_logs alter column sequence set not null, alter column hash set not null"
    )
    op.execute(
        "create unique index uq_audit_logs_tenant_id_sequence on audit_logs (tenant_id, sequence)"
    )
    op.execute(
        "create trigger tr_audit_logs_chain before insert on audit_logs"
        " for each row execute function chain_audit_entry()"
    )


def downgrade() -> None:
    op.execute("drop trigger tr_audit_logs_chain on audit_logs")
    op.execute("drop function chain_audit_entry()")
    op.execute("drop function audit_hash(audit_logs, bytea)")
    op.execute("alter table audit_logs drop column hash, drop column sequence")
    op.execute("drop table audit_heads")
