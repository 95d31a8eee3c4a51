"""Asking for checks; status and history."""
