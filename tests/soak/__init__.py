"""Many integrations, several processes, little mercy: `make soak`."""
