"""The command line client of the integrations API."""
