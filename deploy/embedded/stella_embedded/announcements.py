"""Shows every event of the bus in the terminal, a line each: here nobody else listens."""

import sys

from pydantic import ValidationError

from stella_contracts.messages import Event
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.topology import EVENTS

_SHOWN = ("previousStatus", "status", "errorCode", "errorMessage", "incidentId", "name", "state")


async def show_events(bus: Bus) -> None:
    """Write events to standard output until cancelled."""
    async with bus.subscribe(EVENTS, ["#"]) as deliveries:
        async for delivery in deliveries:
            try:
                event = Event.model_validate_json(delivery.body)
            except ValidationError:
                continue
            sys.stdout.write(line_of(event))
            sys.stdout.flush()


def line_of(event: Event) -> str:
    """When, what, of what, and what it says."""
    told = " ".join(f"{name}={event.data[name]}" for name in _SHOWN if event.data.get(name))
    return f"{event.time:%H:%M:%S}  {event.type}  {event.subject}  {told}\n"
