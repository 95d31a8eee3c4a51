"""The database schema, as reversible steps."""
