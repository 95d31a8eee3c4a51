"""
A database whose time is ours to set.

PostgreSQL finds `now()` in its own schema first, unless the search path names that schema later.
The path of a simulation's database puts ours ahead of it, so that every statement of the product
runs as it stands, on real tables, at a time that moves when we say so. Defaults of columns were
bound before, and stay real.
"""

from datetime import timedelta

import psycopg
from psycopg import sql

_SCHEMA = """
create schema virtual;
create unlogged table virtual.clock (at timestamptz not null);
insert into virtual.clock select min(next_check_at) from public.schedule_state;
create function virtual.now() returns timestamptz language sql stable
    as 'select at from virtual.clock';
"""


class VirtualTime:
    """The clock of one database, as everybody who connects from now on sees it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def begin(self) -> None:
        """Take over from the real clock, at the moment when the first check is due."""
        self._connection.execute(_SCHEMA)
        self._connection.execute(
            sql.SQL("alter database {} set search_path = virtual, public, pg_catalog").format(
                sql.Identifier(self._connection.info.dbname)
            )
        )

    def advance(self, seconds: float) -> None:
        self._connection.execute(
            "update virtual.clock set at = at + %s", [timedelta(seconds=seconds)]
        )
        # One row, written a few thousand times: without this, reading it gets slower and slower.
        self._connection.execute("vacuum virtual.clock")
