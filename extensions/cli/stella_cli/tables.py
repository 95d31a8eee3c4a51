"""The contracts' records as tables and lines for people."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from stella_cli.screen import joined, plain
from stella_contracts.audit import AuditEntry
from stella_contracts.bulk import ImportedLine
from stella_contracts.health import FinishedCheck, FinishedDraft, Health, Step, StepResult
from stella_contracts.integrations import Integration
from stella_contracts.mutes import Mute
from stella_contracts.plugins import Plugin, PluginState, ScanSummary

_STYLES = {
    "healthy": "green",
    "passed": "green",
    "ready": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "failed": "red",
    "error": "red",
    "refused": "red",
    "conflict": "red",
}


def moment(when: datetime | None) -> str:
    """In UTC, to the second."""
    return when.strftime("%Y-%m-%d %H:%M:%SZ") if when else "-"


def status_text(status: str) -> Text:
    return plain(status, _STYLES.get(status, "dim"))


def integration_table(integrations: Sequence[Integration]) -> Table:
    table = new_table("NAME", "TYPE", "STATUS", "TAGS", "INTERVAL", "ID")
    for each in integrations:
        table.add_row(
            plain(each.name),
            plain(each.type),
            status_text(each.status),
            plain(",".join(each.tags) or "-"),
            f"{each.check_interval_seconds}s",
            str(each.id),
        )
    return table


def integration_fields(integration: Integration) -> Table:
    connection = integration.connection
    return _fields(
        ("name", integration.name),
        ("id", str(integration.id)),
        ("type", integration.type),
        ("status", status_text(integration.status)),
        ("enabled", "yes" if integration.enabled else "no"),
        ("description", integration.description or "-"),
        ("config", json.dumps(integration.config, ensure_ascii=False)),
        ("auth reference", integration.auth_ref_uri or "-"),
        ("connection", (connection.api_root if connection else None) or "-"),
        ("tags", ", ".join(integration.tags) or "-"),
        ("interval", f"{integration.check_interval_seconds}s"),
        ("timeout", f"{integration.check_timeout_seconds}s"),
        (
            "thresholds",
            f"{integration.failure_threshold} failures, {integration.success_threshold} successes",
        ),
        ("created", moment(integration.created_at)),
        ("updated", moment(integration.updated_at)),
        ("version", str(integration.version)),
    )


def check_line(name: str, check: FinishedCheck | FinishedDraft) -> Text:
    return joined(
        [plain(name, "bold"), status_text(check.status), f"{check.latency_ms} ms", *_why(check)]
    )


def step_table(steps: Sequence[Step]) -> Table:
    """The steps in order, the first that failed marked with >."""
    failed = next((i for i, step in enumerate(steps) if step.result is StepResult.FAILED), None)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    for i, step in enumerate(steps):
        took = f"{step.ms:.0f} ms" if step.result is not StepResult.SKIPPED else "-"
        mark = ">" if i == failed else " "
        table.add_row(mark, status_text(step.result), plain(step.name), took)
    return table


def _in_a_row(health: Health) -> str:
    """The one of the two that there is: each ends the other."""
    failures, successes = health.consecutive_failures, health.consecutive_successes
    if failures:
        return "1 failure" if failures == 1 else f"{failures} failures"
    if successes:
        return "1 success" if successes == 1 else f"{successes} successes"
    return "-"


def health_fields(name: str, health: Health) -> Table:
    rows: list[tuple[str, str | Text]] = [
        ("name", name),
        ("status", status_text(health.status)),
        ("since", moment(health.since)),
        ("in a row", _in_a_row(health)),
        ("last healthy", moment(health.last_healthy_at)),
        ("next check", moment(health.next_check_at)),
    ]
    if health.incident:
        told = [health.incident.error_code or "", health.incident.error_message or ""]
        opened = f"{health.incident.id}, opened {moment(health.incident.opened_at)}"
        rows.append(("incident", "  ".join([opened, *filter(None, told)])))
    if health.flapping:
        rows.append(("flapping", "yes, changes are not announced one by one"))
    if health.muted_until:
        rows.append(("muted until", moment(health.muted_until)))
    return _fields(*rows)


def history_table(checks: Sequence[FinishedCheck]) -> Table:
    table = new_table("CHECKED", "STATUS", "LATENCY", "TRIGGER", "ERROR", "MESSAGE")
    for each in checks:
        table.add_row(
            moment(each.checked_at),
            status_text(each.status),
            f"{each.latency_ms} ms",
            plain(each.trigger),
            plain(each.error_code or "-"),
            plain(each.error_message or "-"),
        )
    return table


def change_line(name: str, health: Health, previous: str | None) -> Text:
    """What the status is now and, after the first look, what it was."""
    now = [plain(name, "bold"), status_text(health.status)]
    if previous is not None:
        now.insert(1, joined([status_text(previous), "->"], " "))
    return joined([moment(health.since), joined(now, " ")])


def observed_check_line(name: str, check: FinishedCheck) -> Text:
    found = joined(["check:", status_text(check.status)], " ")
    return joined(
        [moment(check.checked_at), joined([plain(name, "bold"), found], " "), *_why(check)]
    )


def event_line(event: Any) -> Text:
    """When, what, whose, and what the event says besides."""
    about = event.get("data") if isinstance(event, dict) else None
    if not isinstance(about, dict):
        return plain(json.dumps(event, ensure_ascii=False))
    named = about.get("name") or about.get("integrationId") or event.get("subject")
    said = [
        f"{name}={value}"
        for name, value in about.items()
        if name not in {"name", "integrationId"} and isinstance(value, str | int)
    ]
    return joined([str(event.get("time")), str(event.get("type")), str(named), " ".join(said)])


def plugin_table(plugins: Sequence[Plugin]) -> Table:
    table = new_table("TYPE", "NAME", "VERSION", "STATE", "TRUST", "CAPABILITIES", "ERROR")
    for each in plugins:
        table.add_row(
            plain(each.type or "-"),
            plain(each.name),
            plain(each.version or "-"),
            status_text(each.state),
            plain(each.trust),
            plain(",".join(each.capabilities) or "-"),
            plain(each.last_error or "-"),
        )
    return table


def plugin_fields(plugin: Plugin) -> Table:
    rows: list[tuple[str, str | Text]] = [
        ("type", plugin.type or "-"),
        ("plugin", plugin.plugin_id),
        ("name", plugin.name),
        ("version", plugin.version or "-"),
        ("state", status_text(plugin.state)),
        ("trust", plugin.trust),
        ("capabilities", ", ".join(plugin.capabilities) or "-"),
        ("path", plugin.path),
        ("digest", plugin.digest or "-"),
        ("interval", _seconds(plugin.default_interval_seconds)),
        ("timeout", _seconds(plugin.default_timeout_seconds)),
        ("seen", moment(plugin.seen_at)),
    ]
    if plugin.state is not PluginState.READY:
        rows.append(("error", plugin.last_error or "-"))
    return _fields(*rows)


def schema_table(schema: dict[str, Any]) -> Table:
    """The fields of a config schema's first level."""
    properties = schema.get("properties")
    required = schema.get("required") or []
    table = new_table("CONFIG", "TYPE", "REQUIRED", "MEANING")
    for name, rule in (properties if isinstance(properties, dict) else {}).items():
        told = rule if isinstance(rule, dict) else {}
        table.add_row(
            plain(str(name)),
            plain(str(told.get("type") or "-")),
            "yes" if name in required else "no",
            plain(str(told.get("description") or "-")),
        )
    return table


def scan_fields(summary: ScanSummary) -> Table:
    return _fields(
        ("found", str(summary.found)),
        ("registered", ", ".join(summary.registered) or "-"),
        ("updated", ", ".join(summary.updated) or "-"),
        ("removed", ", ".join(summary.removed) or "-"),
        ("failed", ", ".join(summary.failed) or "-"),
    )


def audit_table(entries: Sequence[AuditEntry]) -> Table:
    table = new_table("TIME", "ACTOR", "ACTION", "OUTCOME", "INTEGRATION", "DETAILS")
    for each in entries:
        table.add_row(
            moment(each.timestamp),
            plain(each.actor),
            plain(each.action),
            plain(each.outcome),
            str(each.integration_id or "-"),
            plain(json.dumps(each.details, ensure_ascii=False) if each.details else "-"),
        )
    return table


def mute_table(mutes: Sequence[Mute]) -> Table:
    table = new_table("FROM", "UNTIL", "WHAT", "REASON", "BY", "ID")
    for each in mutes:
        selectors = {"integration": each.integration_id, "type": each.type, "tag": each.tag}
        said = [f"{name} {value}" for name, value in selectors.items() if value is not None]
        table.add_row(
            moment(each.starts_at),
            moment(each.ends_at),
            plain(", ".join(said) or "everything"),
            plain(each.reason),
            plain(each.created_by),
            str(each.id),
        )
    return table


def import_table(lines: Sequence[ImportedLine]) -> Table:
    """The lines that failed, each with what is wrong with it."""
    table = new_table("LINE", "NAME", "WHERE", "WHY")
    for line in lines:
        for each in line.problems:
            where = plain(each.pointer or "(whole)")
            table.add_row(str(line.line), plain(line.name or "-"), where, plain(each.detail))
    return table


def _why(check: FinishedCheck | FinishedDraft) -> list[str]:
    return [told for told in (check.error_code, check.error_message) if told]


def _seconds(value: int | None) -> str:
    return "-" if value is None else f"{value}s"


def new_table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        # An identifier that is cut or folded in two cannot be copied.
        table.add_column(header, no_wrap=header in {"ID", "INTEGRATION"}, overflow="fold")
    return table


def _fields(*rows: tuple[str, str | Text]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, plain(value) if isinstance(value, str) else value)
    return table
