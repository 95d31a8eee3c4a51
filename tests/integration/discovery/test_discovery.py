"""From a folder on disk to a row, an event and a reply, on a real database."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.support.plugin_folders import a_manifest, package_of, write_plugin

from stella_contracts.errors import BusUnavailable, PluginUnavailable
from stella_contracts.messages import (
    NO_TENANT,
    DiscoverPlugins,
    Event,
    EventType,
    Finished,
    PluginChange,
)
from stella_contracts.plugins import Plugin, PluginState, ScanSummary
from stella_discovery.app import Discovery
from stella_discovery.handlers import Tools, discover_plugins, scan_plugins
from stella_discovery.reconcile import UNTRUSTED
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.relay import Relay
from stella_runtime.messaging.topology import EVENTS, REPLIES
from stella_runtime.persistence import Database
from stella_runtime.persistence.audit_logs import AuditFilters
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.loader import PluginHost
from stella_runtime.plugin_host.scanner import Found, Sources, scan_in_thread
from stella_runtime.telemetry.metrics import Metrics

READY, CONFLICT = PluginState.READY, PluginState.CONFLICT


@pytest.fixture
async def bus() -> AsyncIterator[InProcessBus]:
    async with InProcessBus(retry_seconds=0.01) as bus:
        yield bus


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """The folder of built-in plugins."""
    folder = tmp_path / "ours"
    folder.mkdir()
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The folder of other plugins."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


@pytest.fixture
def sources(ours: Path, theirs: Path) -> Sources:
    return Sources(built_in=[ours], paths=[theirs], installed=False)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def tools(database: Database, bus: InProcessBus, sources: Sources, metrics: Metrics) -> Tools:
    return Tools(database, bus, lambda: scan_in_thread(sources), metrics)


@pytest.fixture
def reported(database_url: str) -> Callable[[], list[Event]]:
    """Events in the outbox, in order."""

    def read() -> list[Event]:
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("select body from outbox order by sequence").fetchall()
        return [Event.model_validate_json(bytes(row[0])) for row in rows]

    return read


async def scan(tools: Tools) -> ScanSummary:
    return await scan_plugins(new_id(), tools)


async def listed(database: Database) -> dict[str, Plugin]:
    """The catalog by the name of the folder."""
    async with database.system_transaction() as transaction:
        return {Path(p.path).name: p for p in await transaction.plugins.list_all()}


async def test_built_in_plugin_becomes_a_row_and_an_event(
    tools: Tools, ours: Path, database: Database, reported: Callable[[], list[Event]]
) -> None:
    folder = write_plugin(ours / "example")

    summary = await scan(tools)

    row = (await listed(database))["example"]
    assert (summary.found, summary.registered, summary.failed) == (1, ["example"], [])
    assert (row.type, row.state, row.path) == ("example", READY, str(folder))
    [event] = reported()
    assert (event.type, event.subject) == (EventType.PLUGIN_REGISTERED, "example")
    assert event.routing_key == "plugin.registered.example._system"
    assert PluginChange.model_validate(event.data).state == "ready"


async def test_what_becomes_of_plugins_is_audited(
    tools: Tools, ours: Path, theirs: Path, database: Database
) -> None:
    write_plugin(ours / "example")
    write_plugin(theirs / "beta", "beta")
    scan_id = new_id()
    await scan_plugins(scan_id, tools)
    await scan_plugins(new_id(), tools)

    async with database.transaction(NO_TENANT) as transaction:
        found = await transaction.audit_logs.list_page(AuditFilters(), limit=10, before=None)

    told = {each.details["pluginId"]: each for each in found}
    assert len(found) == len(told) == 2
    assert {name: each.outcome for name, each in told.items()} == {
        "example": "success",
        "beta": "refused",
    }
    assert (told["example"].actor, told["example"].request_id) == ("discovery", str(scan_id))
    assert told["beta"].details["reason"] == UNTRUSTED


async def test_scan_that_finds_nothing_new_writes_only_that_it_looked(
    tools: Tools,
    ours: Path,
    theirs: Path,
    database: Database,
    database_url: str,
    reported: Callable[[], list[Event]],
) -> None:
    write_plugin(ours / "example")
    write_plugin(ours / "broken", manifest="id = ")
    write_plugin(theirs / "stranger", "stranger")

    def rows() -> list[dict[str, object]]:
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            return connection.execute("select * from plugin_metadata order by path").fetchall()

    await scan(tools)
    before = rows()
    summary = await scan(tools)

    after = rows()
    looked = [row.pop("seen_at") for row in after]
    assert all(moment not in looked for moment in [row.pop("seen_at") for row in before])
    assert after == before
    assert (summary.registered, summary.updated, summary.removed) == ([], [], [])
    assert len(reported()) == 1


async def test_rows_say_why_a_plugin_cannot_be_used(
    tools: Tools, ours: Path, theirs: Path, database: Database
) -> None:
    write_plugin(ours / "example")
    write_plugin(ours / "broken", manifest="id = ")
    write_plugin(theirs / "copy", manifest=a_manifest("example"))
    write_plugin(theirs / "stranger", "stranger")

    summary = await scan(tools)

    rows = await listed(database)
    assert {name: row.state.value for name, row in rows.items()} == {
        "example": "ready",
        "broken": "error",
        "copy": "conflict",
        "stranger": "refused",
    }
    assert "is not TOML" in (rows["broken"].last_error or "")
    assert str(ours / "example") in (rows["copy"].last_error or "")
    assert rows["stranger"].last_error == UNTRUSTED
    assert summary.failed == ["broken", "example", "stranger"]


async def test_plugin_is_updated_removed_and_registered_again(
    tools: Tools, ours: Path, database: Database, reported: Callable[[], list[Event]]
) -> None:
    folder = write_plugin(ours / "example")
    await scan(tools)
    (folder / "plugin.toml").write_text(a_manifest(version="1.1.0"))
    updated = await scan(tools)
    version = (await listed(database))["example"].version
    folder.rename(ours.parent / "elsewhere")
    removed = await scan(tools)
    state = (await listed(database))["example"].state
    (ours.parent / "elsewhere").rename(folder)
    registered = await scan(tools)

    assert (updated.updated, version) == (["example"], "1.1.0")
    assert (removed.removed, state) == (["example"], PluginState.REMOVED)
    assert registered.registered == ["example"]
    assert [event.type for event in reported()] == [
        EventType.PLUGIN_REGISTERED,
        EventType.PLUGIN_UPDATED,
        EventType.PLUGIN_REMOVED,
        EventType.PLUGIN_REGISTERED,
    ]


async def test_loser_of_a_conflict_takes_over_when_the_winner_is_gone(
    tools: Tools, ours: Path, database: Database, reported: Callable[[], list[Event]]
) -> None:
    first = write_plugin(ours / "first")
    await scan(tools)
    write_plugin(ours / "a-second")
    await scan(tools)
    before = {name: row.state for name, row in (await listed(database)).items()}
    shutil.rmtree(first)
    await scan(tools)

    assert before == {"first": READY, "a-second": CONFLICT}
    rows = await listed(database)
    assert (rows["first"].state, rows["a-second"].state) == (PluginState.REMOVED, READY)
    assert [event.type for event in reported()][1:] == [
        EventType.PLUGIN_REMOVED,
        EventType.PLUGIN_REGISTERED,
    ]


async def test_plugins_may_exchange_their_types(
    tools: Tools, ours: Path, database: Database
) -> None:
    """No moment of the transaction has two ready rows of a type."""
    one, two = write_plugin(ours / "one", "one"), write_plugin(ours / "two", "two")
    await scan(tools)
    manifests = (one / "plugin.toml").read_text(), (two / "plugin.toml").read_text()
    shutil.move(one / package_of("one"), ours.parent / "kept")
    shutil.move(two / package_of("two"), one)
    shutil.move(ours.parent / "kept", two / package_of("one"))
    (one / "plugin.toml").write_text(manifests[1])
    (two / "plugin.toml").write_text(manifests[0])
    await scan(tools)

    rows = await listed(database)
    assert {name: (row.type, row.state) for name, row in rows.items()} == {
        "one": ("two", READY),
        "two": ("one", READY),
    }


async def test_manifest_survives_the_database_unchanged(
    tools: Tools, ours: Path, database: Database
) -> None:
    schema = (
        'config_schema = { type = "object", properties = { ratio = { maximum = 1.0,'
        ' multipleOf = 1e-7, title = "é😀\\\\u0000" }, n = { maximum = 9223372036854775807 } } }'
    )
    write_plugin(ours / "example", manifest=a_manifest(schema=schema))

    await scan(tools)
    again = await scan(tools)

    assert (again.updated, again.failed) == ([], [])


async def test_scans_at_the_same_time_agree(
    database: Database,
    bus: InProcessBus,
    ours: Path,
    sources: Sources,
    reported: Callable[[], list[Event]],
) -> None:
    """Four replicas: all of them have scanned before the first may write."""
    for name in ("one", "two", "three"):
        write_plugin(ours / name, name)
    write_plugin(ours / "twin", manifest=a_manifest("one", package=package_of("example")))
    together = asyncio.Barrier(4)

    async def scan_together() -> Sequence[Found]:
        found = await scan_in_thread(sources)
        await together.wait()
        return found

    tools = Tools(database, bus, scan_together, Metrics())
    summaries = await asyncio.gather(*(scan(tools) for _ in range(4)))

    assert sorted(len(summary.registered) for summary in summaries) == [0, 0, 0, 3]
    assert len(reported()) == 3


async def test_command_is_answered_with_the_summary(
    tools: Tools, ours: Path, bus: InProcessBus
) -> None:
    write_plugin(ours / "example")
    command = DiscoverPlugins(scan_id=new_id(), request_id="r")

    async with bus.subscribe(REPLIES, ["#"]) as replies:
        await discover_plugins(command, tools)
        async with asyncio.timeout(10):
            delivery = await anext(replies)

    reply = Finished.model_validate_json(delivery.body)
    assert (reply.id, delivery.routing_key) == (command.scan_id, str(command.scan_id))
    assert ScanSummary.model_validate(reply.outcome).registered == ["example"]


async def test_redelivered_command_changes_nothing(
    tools: Tools, ours: Path, reported: Callable[[], list[Event]]
) -> None:
    write_plugin(ours / "example")
    command = DiscoverPlugins(scan_id=new_id(), request_id="r")

    await discover_plugins(command, tools)
    await discover_plugins(command, tools)

    assert len(reported()) == 1


class _BusThatIsAway:
    async def publish(self, message: Message) -> None:
        raise BusUnavailable("The broker is away.")


async def test_reply_that_cannot_be_sent_does_not_undo_the_scan(
    database: Database, sources: Sources, ours: Path
) -> None:
    write_plugin(ours / "example")
    tools = Tools(database, _BusThatIsAway(), lambda: scan_in_thread(sources), Metrics())

    await discover_plugins(DiscoverPlugins(scan_id=new_id(), request_id="r"), tools)

    assert (await listed(database))["example"].state is READY


async def test_metrics_count_scans_and_plugins(
    tools: Tools, ours: Path, theirs: Path, metrics: Metrics
) -> None:
    write_plugin(ours / "example")
    write_plugin(theirs / "stranger", "stranger")

    await scan(tools)

    page = metrics.exposition().decode()
    assert 'plugin_scans_total{outcome="completed"} 1.0' in page
    assert 'plugins_known{state="ready"} 1.0' in page
    assert 'plugins_known{state="refused"} 1.0' in page
    assert 'plugins_known{state="removed"} 0.0' in page


async def test_service_scans_at_start_then_for_every_command(
    database: Database, bus: InProcessBus, sources: Sources, ours: Path
) -> None:
    """From the outbox to the reply, over the bus, as the API asks for it."""
    write_plugin(ours / "first", "first")
    discovery = Discovery(sources, database, bus, Metrics())
    relay = Relay(database, bus, poll_seconds=0.05)
    command = DiscoverPlugins(scan_id=new_id(), request_id="r")

    async with (
        asyncio.timeout(20),
        bus.subscribe(REPLIES, [str(command.scan_id)]) as replies,
        bus.subscribe(EVENTS, ["plugin.#"]) as told,
    ):
        running = [asyncio.create_task(each) for each in (discovery.run(), relay.run())]
        try:
            await discovery.scanned.wait()
            at_start = await listed(database)
            write_plugin(ours / "second", "second")
            async with database.system_transaction() as transaction:
                transaction.outbox.ask(command)
            await anext(replies)
            events = [(await anext(told)).routing_key for _ in range(2)]
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    assert list(at_start) == ["first"]
    assert set(await listed(database)) == {"first", "second"}
    assert events == [
        "plugin.registered.first._system",
        "plugin.registered.second._system",
    ]


async def test_worker_loads_what_discovery_has_accepted(
    tools: Tools, ours: Path, theirs: Path, database: Database
) -> None:
    """New, changed behind our back, scanned again, of a stranger: one host sees it all."""

    async def list_records() -> Sequence[PluginRecord]:
        async with database.system_transaction() as transaction:
            return await transaction.plugins.list_records()

    async def answer() -> object:
        return getattr((await host.get("example")).plugin, "answer", None)

    folder = write_plugin(ours / "example", answer="first")
    write_plugin(theirs / "stranger", "stranger")
    host, late_host = PluginHost(list_records), PluginHost(list_records)
    try:
        await scan(tools)
        first = await answer()
        shutil.rmtree(folder)
        write_plugin(folder, answer="second")
        with pytest.raises(PluginUnavailable, match="was changed after it was accepted"):
            await late_host.get("example")
        unscanned = await answer()
        await scan(tools)
        await host.refresh()
        second = await answer()
        with pytest.raises(PluginUnavailable, match="'stranger' cannot be used: Only the plugins"):
            await host.get("stranger")
    finally:
        host.close()
        late_host.close()

    assert (first, unscanned, second) == ("first", "first", "second")
