"""What the driver raises, as errors of ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stella_contracts.errors import DatabaseUnavailable, Unavailable

# Classes of SQLSTATE that say "not now": connection (08), resources (53: a full disk is one),
# operator (57), system (58), rollback (40), lock not available (55P03).
_UNAVAILABLE_CLASSES = ("08", "40", "53", "57", "58")
_ROLLED_BACK = {"40001", "40P01"}
"""Serialization failure and deadlock."""
_UNDEFINED_TABLE = "42P01"
# Two states say it, and both say other things as well.
_ROLE_REFUSED = re.compile(
    'permission denied to set role "stella_|role "stella_[a-z]+" does not exist'
)


class SchemaMissing(Unavailable):
    """The database is there, our tables are not."""

    code = "schema_missing"

    def __init__(self) -> None:
        super().__init__("The database has no schema of ours. Run: stella db upgrade")


class TransactionRolledBack(DatabaseUnavailable):
    """Another transaction was in the way. Nothing of this one is left: it may be run again."""

    code = "transaction_rolled_back"


class RolesMissing(Unavailable):
    """The database's user may not act as the roles that our policies are for."""

    code = "roles_missing"

    def __init__(self) -> None:
        super().__init__(
            "The database user may not act as our roles. Run: stella db upgrade, and as the owner:"
            " grant stella_api, stella_system to <the user of STELLA_DATABASE_URL>"
        )


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turn the driver's ways of saying "not now" into ours."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        ours = _by_state(error.orig)
        if _is_outdated_plan(error):
            ours = TransactionRolledBack()
        elif error.connection_invalidated:
            ours = DatabaseUnavailable()
        if ours is None:
            raise
        raise ours from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # The driver raises these bare while it connects, or when it loses its connection just then.
        raise DatabaseUnavailable from error
    except asyncpg.PostgresError as error:
        ours = _by_state(error)
        if ours is None:
            raise
        raise ours from error


def _by_state(error: BaseException | None) -> Unavailable | None:
    """What a server's error is to us, by its SQLSTATE; None: a mistake of ours."""
    state = getattr(error, "sqlstate", None) or ""
    if state == _UNDEFINED_TABLE:
        return SchemaMissing()
    if _ROLE_REFUSED.search(str(error)):
        return RolesMissing()
    if state in _ROLLED_BACK:
        return TransactionRolledBack()
    if state == "55P03" or state[:2] in _UNAVAILABLE_CLASSES:
        return DatabaseUnavailable()
    return None


def _is_outdated_plan(error: DBAPIError) -> bool:
    """The schema has changed under a prepared statement, which is forgotten by now."""
    cause = error.orig and error.orig.__cause__
    return isinstance(cause, asyncpg.InvalidCachedStatementError)
