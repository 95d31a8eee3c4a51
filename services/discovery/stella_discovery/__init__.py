"""Finds connector plugins and registers them."""
