"""Webhooks and their deliveries, as tables for people."""

from collections.abc import Sequence

from rich.table import Table

from stella_cli.screen import plain
from stella_cli.tables import moment, new_table
from stella_contracts.webhooks import Delivery, Webhook

_STYLES = {
    "active": "green",
    "delivered": "green",
    "failing": "yellow",
    "pending": "yellow",
    "disabled": "red",
    "failed": "red",
    "dropped": "red",
}


def webhook_table(webhooks: Sequence[Webhook]) -> Table:
    table = new_table("URL", "EVENTS", "STATUS", "FAILURES", "LAST ERROR", "ID")
    for each in webhooks:
        reason = f" ({each.disabled_reason})" if each.disabled_reason else ""
        table.add_row(
            plain(each.url),
            plain(", ".join(each.event_types) or "all"),
            plain(f"{each.status}{reason}", _STYLES.get(each.status, "")),
            str(each.consecutive_failures),
            plain((each.last_error if each.consecutive_failures else None) or "-"),
            str(each.id),
        )
    return table


def delivery_table(deliveries: Sequence[Delivery]) -> Table:
    table = new_table("QUEUED", "EVENT", "STATE", "TRIES", "LAST", "MS", "NEXT TRY", "ID")
    for each in deliveries:
        last = each.attempts[-1] if each.attempts else None
        table.add_row(
            moment(each.created_at),
            plain(each.event_type),
            plain(each.state, _STYLES.get(each.state, "")),
            str(each.tries),
            plain("-" if last is None else last.error or f"HTTP {last.status_code}"),
            "-" if last is None else str(last.latency_ms),
            moment(each.next_attempt_at),
            str(each.id),
        )
    return table
