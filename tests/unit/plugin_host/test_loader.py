"""What the worker gets for a provider type: the plugin that was accepted, or a sentence."""

import asyncio
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.plugin_folders import a_manifest, package_of, write_plugin

from stella_contracts.errors import DatabaseUnavailable, PluginUnavailable
from stella_contracts.plugins import PluginState, PluginTrust
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.loader import FRESH_SECONDS, RETRY_SECONDS, PluginHost
from stella_runtime.plugin_host.scanner import Sources, scan


class Catalog:
    """Records as discovery would have stored them, and how often they were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[PluginRecord] = []
        self.away = False
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()

    def scan(self) -> None:
        sources = Sources(built_in=[self.folder], installed=False)
        self.records = [
            PluginRecord(
                path=found.path,
                plugin_id=found.plugin_id,
                trust=found.trust,
                state=PluginState.ERROR if found.error else PluginState.READY,
                last_error=found.error,
                digest=found.digest,
                manifest=found.manifest,
            )
            for found in scan(sources)
        ]

    async def list_records(self) -> Sequence[PluginRecord]:
        self.reads += 1
        await self.answers.wait()
        if self.away:
            raise DatabaseUnavailable
        return self.records


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(catalog: Catalog, clock: Clock) -> Iterator[PluginHost]:
    host = PluginHost(catalog.list_records, clock=clock)
    yield host
    host.close()


async def answer(host: PluginHost, provider_type: str = "example") -> object:
    return getattr((await host.get(provider_type)).plugin, "answer", None)


async def refusal(host: PluginHost, provider_type: str = "example") -> str:
    with pytest.raises(PluginUnavailable) as refused:
        await host.get(provider_type)
    return str(refused.value)


async def test_plugin_is_loaded_with_its_manifest(catalog: Catalog, host: PluginHost) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()

    loaded = await host.get("example")

    assert loaded.plugin.provider_type == "example"
    assert loaded.manifest.version == "1.0.0"


async def test_plugin_is_loaded_once(catalog: Catalog, host: PluginHost) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()

    first, second = await host.get("example"), await host.get("example")

    assert first.plugin is second.plugin
    assert catalog.reads == 1


async def test_checks_that_begin_together_wait_for_one_reading_of_the_catalog(
    catalog: Catalog, host: PluginHost
) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()
    catalog.answers.clear()

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(host.get("example")) for _ in range(3)]
        while not catalog.reads:  # noqa: ASYNC110 - a condition, polled
            await asyncio.sleep(0)
        catalog.answers.set()

    assert len({id(each.result().plugin) for each in asked}) == 1
    assert catalog.reads == 1


async def test_modules_of_the_package_import_each_other(catalog: Catalog, host: PluginHost) -> None:
    code = "from . import inner\nfrom {0}.inner.deep import name\n"
    folder = write_plugin(catalog.folder / "example")
    package = folder / package_of("example")
    package.joinpath("inner").mkdir()
    package.joinpath("inner", "__init__.py").touch()
    package.joinpath("inner", "deep.py").write_text("name = __name__, __file__")
    plugin = package / "plugin.py"
    plugin.write_text(code.format(package_of("example")) + plugin.read_text())
    catalog.scan()

    await host.get("example")

    name = f"{package_of('example')}.inner.deep"
    assert sys.modules[name].name == (name, str(package / "inner" / "deep.py"))


async def test_bytecode_without_source_does_not_exist(catalog: Catalog, host: PluginHost) -> None:
    """Python would import it, and the digest does not know it."""
    folder = write_plugin(catalog.folder / "example", code="from . import hidden")
    source = folder / package_of("example") / "hidden.py"
    source.touch()
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
    source.unlink()
    catalog.scan()

    assert await refusal(host) == "The plugin 'example' cannot be imported: ImportError."


async def test_installed_layout_is_loaded(catalog: Catalog, host: PluginHost) -> None:
    """The manifest lies inside the package, as in a wheel."""
    folder = write_plugin(catalog.folder / "example")
    package = catalog.folder / "site" / package_of("example")
    shutil.copytree(folder / package.name, package)
    shutil.move(folder / "plugin.toml", package)
    shutil.rmtree(folder)
    catalog.folder = package.parent
    catalog.scan()

    assert await answer(host) == "first"


async def test_unknown_type_is_a_sentence(host: PluginHost) -> None:
    assert await refusal(host, "nobody") == "No plugin provides 'nobody'."


async def test_type_that_is_registered_later_is_found(
    catalog: Catalog, host: PluginHost, clock: Clock
) -> None:
    await refusal(host)
    write_plugin(catalog.folder / "example")
    catalog.scan()
    clock.now += RETRY_SECONDS

    assert await answer(host) == "first"


async def test_unknown_type_does_not_hammer_the_database(
    catalog: Catalog, host: PluginHost
) -> None:
    for _ in range(10):
        await refusal(host)

    assert catalog.reads == 1


@pytest.mark.parametrize("state", [PluginState.REFUSED, PluginState.CONFLICT, PluginState.ERROR])
async def test_type_that_is_refused_comes_with_the_reason(
    catalog: Catalog, host: PluginHost, state: PluginState
) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()
    catalog.records = [replace(catalog.records[0], state=state, last_error="Because.")]

    assert await refusal(host) == "The plugin 'example' cannot be used: Because."


async def test_row_that_is_not_trusted_is_never_imported(
    catalog: Catalog, host: PluginHost
) -> None:
    """Whatever state it is in: discovery is not the only guard."""
    write_plugin(catalog.folder / "example")
    catalog.scan()
    catalog.records = [replace(catalog.records[0], trust=PluginTrust.UNTRUSTED)]

    assert "is not trusted to run" in await refusal(host)
    assert package_of("example") not in sys.modules


async def test_file_that_changed_after_it_was_accepted_is_not_run(
    catalog: Catalog, host: PluginHost
) -> None:
    folder = write_plugin(catalog.folder / "example")
    catalog.scan()
    (folder / package_of("example") / "plugin.py").write_text("raise SystemExit")

    assert "was changed after it was accepted" in await refusal(host)


async def test_folder_that_is_as_it_was_accepted_again_is_loaded(
    catalog: Catalog, host: PluginHost, clock: Clock
) -> None:
    folder = write_plugin(catalog.folder / "example")
    catalog.scan()
    (folder / "extra").touch()
    await refusal(host)
    (folder / "extra").unlink()
    clock.now += RETRY_SECONDS

    assert await answer(host) == "first"


async def test_bytecode_on_disk_is_not_run(catalog: Catalog, host: PluginHost) -> None:
    """Python would take it for the source, which has the same size and time."""
    folder = write_plugin(catalog.folder / "example", answer="first")
    source = folder / package_of("example") / "plugin.py"
    stamp = source.stat()
    accepted = source.read_text()
    source.write_text(accepted.replace("first", "wrong"))
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    py_compile.compile(str(source), doraise=True)
    source.write_text(accepted)
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    catalog.scan()

    assert await answer(host) == "first"


async def test_upgraded_plugin_is_imported_again(catalog: Catalog, host: PluginHost) -> None:
    folder = write_plugin(catalog.folder / "example", answer="first")
    catalog.scan()
    before = await host.get("example")
    shutil.rmtree(folder)
    write_plugin(folder, answer="second")
    catalog.scan()
    await host.refresh()

    assert await answer(host) == "second"
    assert getattr(before.plugin, "answer", None) == "first"


async def test_upgrade_whose_event_was_missed_is_seen_after_a_minute(
    catalog: Catalog, host: PluginHost, clock: Clock
) -> None:
    folder = write_plugin(catalog.folder / "example", answer="first")
    catalog.scan()
    await host.get("example")
    shutil.rmtree(folder)
    write_plugin(folder, answer="second")
    catalog.scan()
    clock.now += FRESH_SECONDS

    assert await answer(host) == "second"


async def test_plugin_that_moved_is_imported_from_its_new_place(
    catalog: Catalog, host: PluginHost
) -> None:
    folder = write_plugin(catalog.folder / "example")
    catalog.scan()
    await host.get("example")
    folder.rename(catalog.folder / "moved")
    catalog.scan()
    await host.refresh()

    await host.get("example")

    file = sys.modules[f"{package_of('example')}.plugin"].__file__
    assert file == str(catalog.folder / "moved" / package_of("example") / "plugin.py")


async def test_removed_plugin_is_forgotten(catalog: Catalog, host: PluginHost) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()
    await host.get("example")
    catalog.records = []
    await host.refresh()

    assert await refusal(host) == "No plugin provides 'example'."
    assert package_of("example") not in sys.modules


async def test_what_is_loaded_goes_on_while_the_database_is_away(
    catalog: Catalog, host: PluginHost, clock: Clock
) -> None:
    write_plugin(catalog.folder / "example")
    catalog.scan()
    await host.get("example")
    catalog.away = True
    clock.now += FRESH_SECONDS

    assert await answer(host) == "first"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("1 / 0", "cannot be imported: ZeroDivisionError.", id="raises"),
        pytest.param("raise SystemExit(3)", "cannot be imported: SystemExit.", id="exits"),
        pytest.param("import nowhere_at_all", "cannot be imported: ModuleNot", id="dependency"),
        pytest.param("def broken(:", "cannot be imported: SyntaxError.", id="no Python"),
        pytest.param("x = '\udcff'", "cannot be imported: SyntaxError.", id="no UTF-8"),
        pytest.param("", "has no 'stella_plugin_test_example.plugin:Plugin'.", id="no class"),
        pytest.param("class Plugin: pass", "no method 'check_health'", id="not the interface"),
        pytest.param("Plugin = 3", "cannot be imported: TypeError.", id="not a class"),
        pytest.param(
            "class Plugin:\n provider_type = 'other'\n check_health = validate_config = print",
            "provides 'other', and its manifest says 'example'",
            id="another type",
        ),
    ],
)
async def test_code_that_does_not_load_is_a_sentence_and_tried_once(
    catalog: Catalog, host: PluginHost, clock: Clock, code: str, reason: str
) -> None:
    tries = catalog.folder / "tries"
    count = f"with open({str(tries)!r}, 'a') as file: print('x', file=file)\n"
    folder = write_plugin(catalog.folder / "example", code="")
    plugin = folder / package_of("example") / "plugin.py"
    plugin.write_bytes((count + code).encode(errors="surrogateescape"))
    write_plugin(catalog.folder / "sound", "sound")
    catalog.scan()

    first = await refusal(host)
    clock.now += FRESH_SECONDS
    second = await refusal(host)

    assert reason in first
    assert second == first
    assert not tries.exists() or tries.read_text() == "x\n"
    assert package_of("example") not in sys.modules
    assert await answer(host, "sound") == "first"


async def test_package_name_of_something_else_is_not_shadowed(
    catalog: Catalog, host: PluginHost
) -> None:
    write_plugin(catalog.folder / "example", package="httpx", manifest=a_manifest(package="httpx"))
    catalog.scan()
    before = sys.modules.get("httpx")

    assert "the package name 'httpx' is taken" in await refusal(host)
    assert sys.modules.get("httpx") is before
