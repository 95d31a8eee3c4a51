"""Commands for who runs the hub: they talk to its broker and its database, not to its API."""
