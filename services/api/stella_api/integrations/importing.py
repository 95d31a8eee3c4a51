"""One line of an import: registered, or the integration of its name made the same."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog
from pydantic import ValidationError

from stella_api.integrations import service
from stella_api.integrations.credentials import is_credential
from stella_api.integrations.service import Call, Rules
from stella_api.problems import place_of
from stella_api.strict_json import check_json
from stella_contracts.bulk import ImportedLine, ImportOutcome, ImportProblem, ImportResult
from stella_contracts.errors import (
    ImportRejected,
    LineRejected,
    Problem,
    StellaError,
    Unavailable,
)
from stella_contracts.integrations import IntegrationCreate, IntegrationUpdate
from stella_runtime.persistence import Database, Transaction

MOST_LINES = 1000
_IDENTITY = {"type", "name"}


_Stored = tuple[ImportOutcome, UUID]


class _NotMeant(Exception):
    """Takes back what a dry run has done."""

    def __init__(self, stored: _Stored) -> None:
        super().__init__()
        self.stored = stored


@dataclass(frozen=True, slots=True)
class Import:
    """One request: who asks, for what tenant's catalog, in earnest or not."""

    database: Database
    call: Call
    rules: Rules
    dry_run: bool

    async def run(self, body: bytes) -> ImportResult:
        """
        Each line is a transaction: one that fails keeps no other from being stored.

        Raises ImportRejected for too many lines, and Unavailable when the database goes away in
        between: what was stored until then stays, and the same import may be sent again.
        """
        names: set[str] = set()
        lines = [await self._line(number, text, names) for number, text in _lines_of(body)]
        counts = Counter(each.outcome for each in lines)
        totals = {outcome.value: counts[outcome] for outcome in ImportOutcome}
        async with self.database.transaction(self.call.actor.tenant_id) as transaction:
            transaction.audit_logs.add(
                "integrations.imported",
                actor=self.call.actor.subject,
                request_id=self.call.request_id,
                details={"dryRun": self.dry_run, **totals},
            )
        return ImportResult(dry_run=self.dry_run, lines=lines, **totals)

    async def _line(self, number: int, text: bytes, names: set[str]) -> ImportedLine:
        name = None
        try:
            new = _read(text)
            # What is refused for what it says is not said again.
            name = None if is_credential(new.name) else new.name
            if new.name in names:
                raise LineRejected([Problem("/name", "A line before has the same name.")])
            names.add(new.name)
            outcome, integration_id = await self._store(new)
        except Unavailable:
            raise
        except StellaError as error:
            problems = [ImportProblem(pointer=p.pointer, detail=p.detail) for p in error.problems]
            return ImportedLine(
                line=number,
                outcome=ImportOutcome.FAILED,
                name=name,
                error_code=error.code,
                problems=problems or [ImportProblem(detail=str(error))],
            )
        return ImportedLine(
            line=number,
            outcome=outcome,
            id=None if self.dry_run and outcome is ImportOutcome.CREATED else integration_id,
            name=name,
        )

    async def _store(self, new: IntegrationCreate) -> _Stored:
        tenant_id = self.call.actor.tenant_id
        try:
            # Log lines tell of a change before it is taken back.
            with structlog.contextvars.bound_contextvars(dry_run=self.dry_run):
                async with self.database.transaction(tenant_id) as transaction:
                    return self._meant(await self._apply(transaction, new))
        except _NotMeant as taken_back:
            return taken_back.stored

    def _meant(self, stored: _Stored) -> _Stored:
        if self.dry_run:
            raise _NotMeant(stored)
        return stored

    async def _apply(self, transaction: Transaction, new: IntegrationCreate) -> _Stored:
        before = await transaction.integrations.find_named(new.name)
        if before is None:
            created = await service.register(transaction, self.call, new, self.rules)
            return ImportOutcome.CREATED, created.id
        if before.type != new.type:
            detail = f"An integration of this name has the type {before.type!r}, which stays."
            raise LineRejected([Problem("/type", detail)])
        after = await service.change(
            transaction, self.call, before.id, _update_of(new), None, self.rules
        )
        changed = after.version != before.version
        return ImportOutcome.UPDATED if changed else ImportOutcome.UNCHANGED, before.id


def _lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers. Raises ImportRejected."""
    found = [
        (number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()
    ]
    if len(found) > MOST_LINES:
        raise ImportRejected(f"An import may have {MOST_LINES} lines at most. Send it in parts.")
    if not found:
        raise ImportRejected("Send one JSON document a line, as the export has them.")
    yield from found


def _read(text: bytes) -> IntegrationCreate:
    """Raises MalformedBody, or LineRejected without repeating what was sent."""
    check_json(text)
    try:
        return IntegrationCreate.model_validate_json(text)
    except ValidationError as error:
        places = [place_of(each["loc"], each["msg"]) for each in error.errors()[:20]]
        raise LineRejected(places) from None


def _update_of(new: IntegrationCreate) -> IntegrationUpdate:
    """What the line says; what it leaves out stays."""
    said = {name: getattr(new, name) for name in new.model_fields_set - _IDENTITY}
    return IntegrationUpdate.model_validate(
        {
            _alias(name): value
            for name, value in said.items()
            if value is not None or name == "auth_ref_uri"
        }
    )


def _alias(name: str) -> str:
    return IntegrationUpdate.model_fields[name].alias or name
