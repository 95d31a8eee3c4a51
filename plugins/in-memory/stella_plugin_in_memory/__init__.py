"""Connects nothing: answers what its script says."""
