"""The whole system in one process, for development and a first look."""
