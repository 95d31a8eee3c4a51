"""The commands: arguments in, calls of the client, tables out."""
