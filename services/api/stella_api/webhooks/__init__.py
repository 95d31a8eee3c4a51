"""Outbound webhooks: endpoints and their delivery logs."""
