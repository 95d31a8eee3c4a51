"""What was, as tables for people: roll-ups, and changes of status."""

from collections.abc import Sequence

from rich.table import Table

from stella_cli.screen import plain
from stella_cli.tables import moment, new_table, status_text
from stella_contracts.health import Rollup, Transition


def rollup_table(rollups: Sequence[Rollup]) -> Table:
    table = new_table(
        "FROM", "CHECKS", "HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN", "AVERAGE", "LONGEST"
    )
    for each in rollups:
        counts = (each.checks, each.healthy, each.degraded, each.unhealthy, each.unknown)
        table.add_row(
            moment(each.starting_at),
            *map(str, counts),
            f"{each.average_latency_ms:.0f} ms",
            f"{each.max_latency_ms} ms",
        )
    return table


def transition_table(transitions: Sequence[Transition]) -> Table:
    table = new_table("AT", "FROM", "TO", "ERROR", "INCIDENT")
    for each in transitions:
        table.add_row(
            moment(each.at),
            status_text(each.previous_status),
            status_text(each.status),
            plain(each.error_code or "-"),
            plain(str(each.incident_id or "-")),
        )
    return table
