"""Schedules and runs the health checks of integrations."""
