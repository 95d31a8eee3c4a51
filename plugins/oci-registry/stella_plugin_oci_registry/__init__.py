"""Connects registries of the OCI distribution specification."""
