"""The places where plugins are found and loaded."""
