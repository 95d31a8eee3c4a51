"""
Entries of the audit log may end after a time: what is dropped leaves its last hash behind.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ANCHORS = """
create table audit_anchors (
    tenant_id text constraint pk_audit_anchors primary key,
    sequence bigint not null,
    hash bytea not null,
    moved_at timestamptz not null default now()
)
"""

# An entry may go once the anchor has passed it, and the anchor passes by the function alone.
GUARD = """
create function guard_audit_deletion() returns trigger language plpgsql as $$
begin
    if not exists (select from audit_anchors a
        where a.tenant_id = old.tenant_id and a.sequence >= old.sequence)
    then
        raise exception 'audit_logs is append-only' using errcode = 'insufficient_privilege';
    end if;
    return old;
end $$
"""

# Only what is as it was written is dropped: the end of an entry's time must not hide that
# somebody has altered it. The anchor is moved first, since the trigger asks for it.
EXPIRE = """
create function expire_audit_logs(kept interval, most integer)
    returns table (tenant text, entries bigint, until bigint) language plpgsql as $$
declare
    head record;
    entry audit_logs;
    place bigint;
    last bytea;
begin
    if kept < interval '30 days' then
        raise exception 'audit logs are kept for 30 days at least'
            using errcode = 'insufficient_privilege';
    end if;
    -- Who verifies a chain reads it in several statements.
    if not pg_try_advisory_xact_lock(hashtext('stella.audit.expiry')) then
        return;
    end if;
    for head in select h.tenant_id, coalesce(a.sequence, 0) as sequence,
            coalesce(a.hash, ''::bytea) as hash
        from audit_heads h left join audit_anchors a on a.tenant_id = h.tenant_id
        order by h.tenant_id
    loop
        place := head.sequence;
        last := head.hash;
        for entry in select * from audit_logs l
            where l.tenant_id = head.tenant_id and l.sequence > head.sequence
            order by l.sequence limit most
        loop
            exit when entry.timestamp >= now() - kept or entry.sequence <> place + 1
                or entry.hash <> audit_hash(entry, last);
            place := entry.sequence;
            last := entry.hash;
        end loop;
        continue when place = head.sequence;
        insert into audit_anchors (tenant_id, sequence, hash) values (head.tenant_id, place, last)
            on conflict (tenant_id) do update
            set sequence = excluded.sequence, hash = excluded.hash, moved_at = now();
        delete from audit_logs l where l.tenant_id = head.tenant_id and l.sequence <= place;
        tenant := head.tenant_id;
        entries := place - head.sequence;
        until := place;
        return next;
    end loop;
end $$
"""

NAME = "expire_audit_logs(interval, integer)"


def upgrade() -> None:
    op.execute(ANCHORS)
    op.execute("call protect_tenant_tables()")
    op.execute(
        "create policy owner on audit_anchors to current_user using (true) with check (true)"
    )
    op.execute("create policy owner on audit_logs to current_user using (true)")
    op.execute("grant select on audit_anchors to stella_api")
    op.execute(GUARD)
    op.execute("drop trigger tr_audit_logs_append_only on audit_logs")
    op.execute(
        "create trigger tr_audit_logs_append_only before update on audit_logs"
        " for each row execute function refuse_audit_change()"
    )
    op.execute(
        "create trigger tr_audit_logs_deletion before delete on audit_logs"
        " for each row execute function guard_audit_deletion()"
    )
    op.execute(EXPIRE)
    op.execute(f"alter function {NAME} security definer set search_path = public, pg_temp")
    op.execute(f"revoke execute on function {NAME} from public")
    op.execute(f"grant execute on function {NAME} to stella_system")


def downgrade() -> None:
    op.execute(f"drop function {NAME}")
    op.execute("drop trigger tr_audit_logs_deletion on audit_logs")
    op.execute("drop trigger tr_audit_logs_append_only on audit_logs")
    op.execute(
        "create trigger tr_audit_logs_append_only before update or delete on audit_logs"
        " for each row execute function refuse_audit_change()"
    )
    op.execute("drop function guard_audit_deletion()")
    op.execute("drop policy owner on audit_logs")
    op.execute("drop table audit_anchors")
