"""The bus: messages between processes, and out to subscribers."""
