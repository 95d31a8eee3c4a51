"""What was found and what is stored, to what has to be stored and told; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stella_contracts.messages import EventType
from stella_contracts.plugins import PluginState, PluginTrust
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.package import package_name
from stella_runtime.plugin_host.scanner import Found

UNTRUSTED = (
    "Only the plugins that come with this hub are run: code of other origin needs a process of"
    " its own, which this version does not have yet."
)
GONE = "It is no longer found at its path."

# A refused plugin keeps others of its kind out as well: else the two would take turns.
_HOLDING = {PluginState.READY, PluginState.REFUSED}
_FAILED = {PluginState.ERROR, PluginState.CONFLICT, PluginState.REFUSED}


@dataclass(frozen=True, slots=True)
class Change:
    """A row that must be written."""

    record: PluginRecord
    event: EventType | None
    """
    What to tell. Events are about plugins that can be used, or could until now: of one that
    never could, the row is all there is.
    """


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome of a scan."""

    changes: Sequence[Change]
    """In the order in which they can be written: who gives a type up before who takes it."""

    records: Sequence[PluginRecord]
    """Every row there is when the changes are made."""

    seen: Sequence[str]
    """Paths of the rows that were found as they are stored."""

    def told(self, event: EventType) -> list[str]:
        """Ids of the plugins that the event tells of."""
        return sorted(c.record.plugin_id for c in self.changes if c.event is event)

    @property
    def removed(self) -> list[str]:
        """Ids of the plugins that are gone, whether they could be used or not."""
        return sorted(
            c.record.plugin_id for c in self.changes if c.record.state is PluginState.REMOVED
        )

    @property
    def failed(self) -> list[str]:
        """Ids of the plugins that were found and cannot be used."""
        return sorted(r.plugin_id for r in self.records if r.state in _FAILED)


def reconcile(found: Sequence[Found], stored: Sequence[PluginRecord]) -> Reconciliation:
    """
    Compare a scan with the catalog. `stored` is in the order of registration.

    Of plugins that claim the same type, id or package name, one is ready: a built-in one
    before others, then the one that had them before, then the one registered first.
    """
    before = {record.path: record for record in stored}
    now = {record.path: record for record in _judge(found, stored)}
    gone = [_gone(record) for path, record in before.items() if path not in now]
    records = [*now.values(), *gone]
    changed = [record for record in records if before.get(record.path) != record]
    # One ready row a type is the most there may be, also between two writes.
    changed.sort(key=lambda record: record.state is PluginState.READY)
    return Reconciliation(
        changes=[Change(record, _event(before.get(record.path), record)) for record in changed],
        records=records,
        seen=[path for path, record in now.items() if before.get(path) == record],
    )


def _judge(found: Sequence[Found], stored: Sequence[PluginRecord]) -> Iterator[PluginRecord]:
    taken: dict[tuple[str, str], PluginRecord] = {}
    for candidate in sorted(found, key=_Precedence(stored)):
        record = PluginRecord(
            path=candidate.path,
            plugin_id=candidate.plugin_id,
            trust=candidate.trust,
            state=PluginState.READY,
            digest=candidate.digest,
            manifest=candidate.manifest,
        )
        if candidate.error is not None:
            yield replace(record, state=PluginState.ERROR, last_error=candidate.error)
            continue
        claims = _claims(record)
        winner = next((taken[claim] for claim in claims if claim in taken), None)
        if winner is not None:
            reason = _conflict(record, winner)
            yield replace(record, state=PluginState.CONFLICT, last_error=reason)
            continue
        taken |= dict.fromkeys(claims, record)
        if record.trust is not PluginTrust.BUILT_IN:
            record = replace(record, state=PluginState.REFUSED, last_error=UNTRUSTED)
        yield record


class _Precedence:
    """Sorts the plugin that stays before the one that has to give way."""

    def __init__(self, stored: Sequence[PluginRecord]) -> None:
        self._registered = {record.path: place for place, record in enumerate(stored)}
        self._holding = {r.path for r in stored if r.state in _HOLDING}

    def __call__(self, found: Found) -> tuple[bool, bool, int, str]:
        return (
            found.trust is not PluginTrust.BUILT_IN,
            found.path not in self._holding,
            self._registered.get(found.path, len(self._registered)),
            found.path,
        )


def _claims(record: PluginRecord) -> list[tuple[str, str]]:
    if record.manifest is None:
        return []
    return [
        ("type", record.manifest.provider_type),
        ("id", record.manifest.id),
        ("package name", package_name(record.manifest)),
    ]


def _conflict(loser: PluginRecord, winner: PluginRecord) -> str:
    theirs = _claims(winner)
    what, name = next(claim for claim in _claims(loser) if claim in theirs)
    return f"The {what} {name!r} belongs to the plugin {winner.plugin_id!r} at {winner.path}."


def _gone(record: PluginRecord) -> PluginRecord:
    return replace(record, state=PluginState.REMOVED, last_error=GONE)


def _event(before: PluginRecord | None, now: PluginRecord) -> EventType | None:
    was_ready = before is not None and before.state is PluginState.READY
    if now.state is PluginState.READY:
        return EventType.PLUGIN_UPDATED if was_ready else EventType.PLUGIN_REGISTERED
    if not was_ready:
        return None
    gone = now.state is PluginState.REMOVED
    return EventType.PLUGIN_REMOVED if gone else EventType.PLUGIN_UPDATED
