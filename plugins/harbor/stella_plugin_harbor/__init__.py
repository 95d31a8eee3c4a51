"""Connects Harbor registries."""
