"""Table `plugin_metadata`: what the scans have found, for the whole installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.errors import PluginNotFound
from stella_contracts.manifest import Manifest
from stella_contracts.plugins import Plugin, PluginState, PluginTrust
from stella_runtime.persistence.base import (
    Base,
    JsonColumn,
    JsonObject,
    MomentColumn,
    TextsColumn,
)


class PluginMetadataRow(Base):
    __tablename__ = "plugin_metadata"

    path: Mapped[str] = mapped_column(primary_key=True)
    plugin_id: Mapped[str]
    type: Mapped[str | None]
    version: Mapped[str | None]
    capabilities: Mapped[list[str]] = mapped_column(TextsColumn)
    trust: Mapped[str]
    state: Mapped[str]
    last_error: Mapped[str | None]
    digest: Mapped[str | None]
    manifest: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    registered_at: Mapped[datetime] = mapped_column(MomentColumn)
    seen_at: Mapped[datetime] = mapped_column(MomentColumn)


_SCAN_LOCK = text("select pg_advisory_xact_lock(hashtext('stella.plugins.scan'))")


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin, by the place where it was found."""

    path: str
    plugin_id: str
    trust: PluginTrust
    state: PluginState
    last_error: str | None = None
    digest: str | None = None
    manifest: Manifest | None = None


class PluginMetadata:
    """Every plugin that was found, the broken ones included."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_all(self) -> Sequence[Plugin]:
        rows = await self._session.scalars(
            select(PluginMetadataRow).order_by(PluginMetadataRow.plugin_id, PluginMetadataRow.path)
        )
        return [_plugin(row) for row in rows]

    async def get(self, provider_type: str) -> Plugin:
        """Who provides a type, or the best that is known of it. Raises PluginNotFound."""
        rows = (
            await self._session.scalars(
                select(PluginMetadataRow)
                .where(PluginMetadataRow.type == provider_type)
                .order_by(PluginMetadataRow.state != PluginState.READY, PluginMetadataRow.path)
                .limit(1)
            )
        ).all()
        if not rows:
            raise PluginNotFound(provider_type)
        return _plugin(rows[0])

    async def lock(self) -> None:
        """Until this transaction ends, no other scan compares or writes."""
        await self._session.execute(_SCAN_LOCK)

    async def list_records(self) -> Sequence[PluginRecord]:
        """Everything stored, in the order in which it was registered."""
        rows = await self._session.scalars(
            select(PluginMetadataRow).order_by(
                PluginMetadataRow.registered_at, PluginMetadataRow.path
            )
        )
        return [_record(row) for row in rows]

    async def list_ready(self) -> Sequence[PluginRecord]:
        """The plugins that may run."""
        rows = await self._session.scalars(
            select(PluginMetadataRow).where(PluginMetadataRow.state == PluginState.READY)
        )
        return [_record(row) for row in rows]

    async def mark_seen(self, paths: Sequence[str]) -> None:
        """They were found again, as they are stored."""
        await self._session.execute(
            update(PluginMetadataRow)
            .where(PluginMetadataRow.path.in_(paths))
            .values(seen_at=datetime.now(UTC))
        )

    async def withdraw(self, paths: Sequence[str]) -> None:
        """Make their types free, before the rows are written anew with each other's."""
        await self._session.execute(
            update(PluginMetadataRow)
            .where(PluginMetadataRow.path.in_(paths))
            .values(state=PluginState.REMOVED)
        )

    async def put(self, record: PluginRecord) -> None:
        """Store a plugin as it is now."""
        manifest = record.manifest
        values: dict[str, Any] = {
            "plugin_id": record.plugin_id,
            "type": manifest.provider_type if manifest else None,
            "version": manifest.version if manifest else None,
            "capabilities": manifest.capabilities if manifest else [],
            "trust": record.trust,
            "state": record.state,
            "last_error": record.last_error,
            "digest": record.digest,
            "manifest": manifest.model_dump(mode="json") if manifest else None,
            "seen_at": datetime.now(UTC),
        }
        await self._session.execute(
            insert(PluginMetadataRow)
            .values(path=record.path, registered_at=values["seen_at"], **values)
            .on_conflict_do_update(index_elements=["path"], set_=values)
        )


def _record(row: PluginMetadataRow) -> PluginRecord:
    return PluginRecord(
        path=row.path,
        plugin_id=row.plugin_id,
        trust=PluginTrust(row.trust),
        state=PluginState(row.state),
        last_error=row.last_error,
        digest=row.digest,
        manifest=None if row.manifest is None else Manifest.model_validate(row.manifest),
    )


def _plugin(row: PluginMetadataRow) -> Plugin:
    manifest = None if row.manifest is None else Manifest.model_validate(row.manifest)
    return Plugin(
        plugin_id=row.plugin_id,
        type=row.type,
        name=(manifest.name if manifest else "") or row.plugin_id,
        version=row.version,
        capabilities=row.capabilities,
        path=row.path,
        trust=PluginTrust(row.trust),
        state=PluginState(row.state),
        last_error=row.last_error,
        digest=row.digest,
        config_schema=manifest.config_schema if manifest else None,
        identity_fields=manifest.identity_fields if manifest else [],
        secret_fields=manifest.secret_fields if manifest else [],
        default_interval_seconds=manifest.default_interval_seconds if manifest else None,
        default_timeout_seconds=manifest.default_timeout_seconds if manifest else None,
        seen_at=row.seen_at,
    )
