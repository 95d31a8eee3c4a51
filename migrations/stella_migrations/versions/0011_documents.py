"""
Integrations as the API shows them, read in one round trip with both locks on.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# As `Integration` of the contracts writes it, but for the reference: how much of that a caller
# sees is the API's to decide. A test compares the two.
VIEW = """
create view integration_documents with (security_invoker = true) as
select i.tenant_id, i.id, i.type, i.enabled, i.version, i.status, i.auth_ref_uri, s.connection,
    row_to_json(document)::text as document
from integrations i
-- With a limit it is looked up for each row. Merged, the thousandth page would read all before it.
left join lateral (
    select state.connection from schedule_state state
    where state.integration_id = i.id and state.tenant_id = i.tenant_id limit 1
) s on true
cross join lateral (
    select i.id, i.type, i.name, i.description, i.config_json as config, s.connection, i.status,
        i.enabled, i.tags, i.check_interval_seconds as "checkIntervalSeconds",
        i.check_timeout_seconds as "checkTimeoutSeconds",
        i.failure_threshold as "failureThreshold", i.success_threshold as "successThreshold",
        to_char(i.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "createdAt",
        to_char(i.updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "updatedAt",
        i.version
) as document
where i.deleted_at is null
"""

# What a tenant's transaction begins with, in the transaction that a single statement is. It ends
# with the statement, so that nothing is left on the connection.
ENTER = """
create procedure enter_tenant(tenant text) language plpgsql as $$
begin
    perform set_config('role', 'stella_api', true), set_config('app.tenant_id', tenant, true);
end $$
"""
GET = """
create function get_integration_document(tenant text, wanted uuid)
returns setof integration_documents language plpgsql as $$
begin
    call enter_tenant(tenant);
    return query select d.* from integration_documents d
        where d.tenant_id = tenant and d.id = wanted;
end $$
"""
LIST = """
create function list_integration_documents(
    tenant text, kind text, only_enabled boolean, after uuid, how_many integer
) returns setof integration_documents language plpgsql as $$
begin
    call enter_tenant(tenant);
    if kind is null then
        return query select d.* from integration_documents d
            where d.tenant_id = tenant and (d.enabled or not only_enabled) and d.id > after
            order by d.id limit how_many;
    else
        return query select d.* from integration_documents d
            where d.tenant_id = tenant and d.type = kind and (d.enabled or not only_enabled)
              and d.id > after
            order by d.id limit how_many;
    end if;
end $$
"""


def upgrade() -> None:
    for statement in (VIEW, ENTER, GET, LIST):
        op.execute(statement)
    op.execute("grant select on integration_documents to stella_api")


def downgrade() -> None:
    op.execute("drop function list_integration_documents(text, text, boolean, uuid, integer)")
    op.execute("drop function get_integration_document(text, uuid)")
    op.execute("drop procedure enter_tenant(text)")
    op.execute("drop view integration_documents")
