"""The connectors that there are."""
