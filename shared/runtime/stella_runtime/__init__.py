"""What every process needs to run: storage, messages, secrets, plugins, telemetry."""
