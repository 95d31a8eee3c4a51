"""Outbound webhooks: events on their way to endpoints."""
