"""Connects Jenkins controllers."""
