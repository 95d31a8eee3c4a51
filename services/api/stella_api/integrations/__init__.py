"""The catalog: registering, reading, changing, removing."""
