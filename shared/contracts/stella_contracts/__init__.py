"""What the services, their clients and every plugin author agree on."""
