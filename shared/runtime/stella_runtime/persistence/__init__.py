"""PostgreSQL: every table and every query of the system."""

from stella_runtime.persistence.connect import open_engine
from stella_runtime.persistence.transaction import Database, SystemTransaction, Transaction

__all__ = ["Database", "SystemTransaction", "Transaction", "open_engine"]
