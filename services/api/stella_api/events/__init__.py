"""Server-sent events: what a tenant's subscribers hear without AMQP."""
