"""Mutes: what no alerts are sent of for a while."""
