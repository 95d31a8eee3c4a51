"""What the scanner accepts, what it says of the rest, and that it runs nothing."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.plugin_folders import a_manifest, package_of, write_plugin

from stella_contracts.plugins import PluginTrust
from stella_runtime.plugin_host import folder as folders
from stella_runtime.plugin_host.folder import ReadingStopped
from stella_runtime.plugin_host.scanner import MAX_FOLDERS, Found, Sources, scan, scan_in_thread


def find(*paths: Path) -> list[Found]:
    return list(scan(Sources(paths=paths, installed=False)))


def schema(text: str) -> str:
    return f"config_schema = {text}"


def test_plugin_is_found_with_its_manifest_and_digest(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "example")

    [found] = find(tmp_path)

    assert found.error is None
    assert found.path == str(folder)
    assert found.manifest is not None
    assert found.manifest.provider_type == "example"
    assert (found.digest or "").startswith("sha256:")


def test_configured_path_may_be_the_plugin_itself(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "example")

    assert [found.path for found in find(folder)] == [str(folder)]


def test_folder_that_two_paths_lead_to_is_found_once(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "plugins" / "example")
    (tmp_path / "other-name").symlink_to(tmp_path / "plugins")

    found = find(tmp_path / "plugins", tmp_path / "other-name", folder)

    assert [each.path for each in found] == [str(folder)]


def test_only_what_lies_below_the_built_in_path_is_trusted(tmp_path: Path) -> None:
    ours = write_plugin(tmp_path / "ours" / "one", "one")
    theirs = write_plugin(tmp_path / "theirs" / "two", "two")
    sources = Sources(built_in=[ours.parent], paths=[theirs.parent, ours.parent], installed=False)

    trust = {found.path: found.trust for found in scan(sources)}

    assert trust == {str(ours): PluginTrust.BUILT_IN, str(theirs): PluginTrust.UNTRUSTED}


def test_folder_without_manifest_is_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("hello")
    write_plugin(tmp_path / ".hidden")

    assert find(tmp_path) == []


def test_missing_path_is_a_row_that_says_so(tmp_path: Path) -> None:
    [found] = find(tmp_path / "nowhere")

    assert found.path == str(tmp_path / "nowhere")
    assert found.error == "The configured plugin path cannot be read: No such file or directory."


MANIFESTS = [
    pytest.param("id = ", "is not TOML", id="broken TOML"),
    pytest.param("", "api_version None; this hub accepts 1", id="empty"),
    pytest.param(a_manifest(api_version="2"), "api_version 2; this hub accepts 1", id="newer"),
    pytest.param(a_manifest(more='colour = "red"'), "colour", id="unknown field"),
    pytest.param(a_manifest(version="one"), "version", id="bad version"),
    pytest.param(a_manifest("Not_A_Type"), "provider_type", id="bad provider type"),
    pytest.param(
        a_manifest(more="#" + "x" * 70_000), "has more than 65536 bytes", id="huge manifest"
    ),
    pytest.param(
        a_manifest(more="default_interval_seconds = " + "9" * 5000), "cannot be read", id="9…9"
    ),
    pytest.param(
        a_manifest(api_version="0x" + "f" * 9000), "cannot be read", id="api_version 0xff…f"
    ),
    pytest.param(
        a_manifest(schema=schema("{ type = 'object', x = " + "[" * 400 + "]" * 400 + "}")),
        "plugin.toml",
        id="deeply nested",
    ),
    pytest.param(
        a_manifest(more='name = "a\\u0000b"'), "value that JSON cannot hold", id="NUL in text"
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", "a\\u0000b" = 1 }')),
        "value that JSON cannot hold",
        id="NUL in a key",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", default = 2026-01-01 }')),
        "value that JSON cannot hold",
        id="date in the schema",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", minProperties = nan }')),
        "value that JSON cannot hold",
        id="NaN in the schema",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", maxProperties = 0x' + "f" * 17 + " }")),
        "value that JSON cannot hold",
        id="integer beyond 64 bits",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "string" }')), 'type = "object"', id="no object"
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", properties = { a = { type = "text" } } }')),
        "config_schema is no JSON Schema: at 'properties/a/type'",
        id="bad schema",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", properties = { a = { pattern = "(" } } }')),
        "config_schema is no JSON Schema",
        id="bad pattern",
    ),
    pytest.param(
        a_manifest(
            schema=schema(
                '{ type = "object", properties = { a = { pattern = "a{99999999999}" } } }'
            )
        ),
        "config_schema cannot be compiled: OverflowError",
        id="pattern that repeats too often",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", "$schema" = "http://other/" }')),
        "another $schema",
        id="other dialect",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", "$ref" = "https://elsewhere.test/x" }')),
        "refers to elsewhere",
        id="reference to elsewhere",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", "$ref" = "#/$defs/missing" }')),
        "which it does not have",
        id="reference to nothing",
    ),
    pytest.param(
        a_manifest(schema=schema('{ type = "object", "$ref" = "#" }')),
        "without end",
        id="reference to itself",
    ),
    pytest.param(
        a_manifest(package="stella_plugin_elsewhere"),
        "names the module 'stella_plugin_elsewhere.plugin', which the folder does not have",
        id="missing entry module",
    ),
    pytest.param(a_manifest(package="json"), "'json' is taken", id="name of the standard library"),
    pytest.param(
        a_manifest(package="stella_runtime"), "'stella_runtime' is taken", id="name of ours"
    ),
]


@pytest.mark.parametrize(("manifest", "reason"), MANIFESTS)
def test_manifest_that_cannot_be_accepted_is_a_row_with_the_reason(
    tmp_path: Path, manifest: str, reason: str
) -> None:
    write_plugin(tmp_path / "broken", manifest=manifest)
    write_plugin(tmp_path / "sound", "sound")

    broken, sound = find(tmp_path)

    assert reason in (broken.error or "")
    assert len(broken.error or "") <= 500
    assert sound.error is None


def test_refused_plugin_keeps_what_could_be_read_of_it(tmp_path: Path) -> None:
    write_plugin(tmp_path / "a", manifest=a_manifest("harbor"))

    [found] = find(tmp_path)

    assert found.error is not None
    assert found.plugin_id == "harbor"


def _link_out(folder: Path) -> None:
    (folder / "passwords").symlink_to("/etc/passwd")


def _folder_link_out(folder: Path) -> None:
    (folder / "etc").symlink_to("/etc")


def _link_to_parent(folder: Path) -> None:
    (folder / "up").symlink_to("..")


def _dangling_link(folder: Path) -> None:
    (folder / "gone").symlink_to("nowhere")


def _link_to_itself(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")


def _link_round_in_circles(folder: Path) -> None:
    (folder / "again").symlink_to(".")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _manifest_is_a_pipe(folder: Path) -> None:
    (folder / "plugin.toml").unlink()
    os.mkfifo(folder / "plugin.toml")


def _manifest_is_a_folder(folder: Path) -> None:
    (folder / "plugin.toml").unlink()
    (folder / "plugin.toml").mkdir()


def _manifest_is_a_link_out(folder: Path) -> None:
    (folder / "plugin.toml").unlink()
    (folder / "plugin.toml").symlink_to("/etc/passwd")


def _too_deep(folder: Path) -> None:
    place = folder.joinpath(*["deep"] * 10)
    place.mkdir(parents=True)
    (place / "x").touch()


def _too_many_files(folder: Path) -> None:
    for number in range(folders.MAX_FILES):
        (folder / f"file{number}").touch()


def _too_large(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(folders.MAX_BYTES)


def _name_that_is_not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).symlink_to("/etc")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(_link_out, "The link 'passwords' leaves the folder.", id="link to a file"),
        pytest.param(_folder_link_out, "The link 'etc' leaves the folder.", id="link to /etc"),
        pytest.param(_link_to_parent, "The link 'up' leaves the folder.", id="link to the parent"),
        pytest.param(_dangling_link, "The link 'gone' leads nowhere.", id="dangling link"),
        pytest.param(_link_to_itself, "The link 'loop' leads nowhere.", id="link to itself"),
        pytest.param(_link_round_in_circles, "more than 8 levels deep", id="endless folder"),
        pytest.param(_pipe, "'pipe' is not a regular file.", id="pipe"),
        pytest.param(
            _manifest_is_a_pipe, "'plugin.toml' is not a regular file.", id="manifest: pipe"
        ),
        pytest.param(_manifest_is_a_folder, "'plugin.toml' cannot be read", id="manifest: folder"),
        pytest.param(_manifest_is_a_link_out, "'plugin.toml' cannot be read", id="manifest: link"),
        pytest.param(_too_deep, "more than 8 levels deep", id="too deep"),
        pytest.param(_too_many_files, "more than 2000 files", id="too many files"),
        pytest.param(_too_large, "more than 20971520 bytes", id="too large"),
        pytest.param(_name_that_is_not_utf8, "leaves the folder", id="name that is not UTF-8"),
    ],
)
def test_folder_that_cannot_be_accepted_is_a_row_with_the_reason(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(write_plugin(tmp_path / "spoilt"))
    write_plugin(tmp_path / "sound", "sound")

    sound, spoilt = find(tmp_path)

    assert reason in (spoilt.error or "")
    (spoilt.error or "").encode()
    assert sound.error is None


def test_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "example")
    (folder / "alias").symlink_to(package_of("example"))

    [found] = find(tmp_path)

    assert found.error is None


def test_plugin_folder_that_is_a_link_out_of_the_path_is_refused(tmp_path: Path) -> None:
    write_plugin(tmp_path / "elsewhere" / "example")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "example").symlink_to(tmp_path / "elsewhere" / "example")

    [found] = find(tmp_path / "plugins")

    assert "leaves the configured plugin path" in (found.error or "")


def test_path_whose_name_is_not_utf8_is_a_row_that_can_be_stored(tmp_path: Path) -> None:
    write_plugin(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))

    [found] = find(tmp_path)

    assert found.error == "The path is not UTF-8."
    assert found.path.endswith("\\xff")


def test_path_with_too_many_entries_is_refused_as_a_whole(tmp_path: Path) -> None:
    for number in range(MAX_FOLDERS):
        (tmp_path / f"folder{number}").mkdir()
    write_plugin(tmp_path / "example")

    [found] = find(tmp_path)

    assert "more than 1000 entries" in (found.error or "")


def test_nothing_of_a_plugin_runs(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    code = f"open({str(proof)!r}, 'w').close()\nraise SystemExit"
    folder = write_plugin(tmp_path / "plugins" / "example", code=code)
    (folder / package_of("example") / "__init__.py").write_text(code)

    [found] = find(tmp_path / "plugins")

    assert found.error is None
    assert not proof.exists()
    assert package_of("example") not in sys.modules


class TestInstalledPackages:
    """Entry points, from a folder that looks as pip leaves it."""

    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        site = tmp_path / "site-packages"
        site.mkdir()
        monkeypatch.syspath_prepend(site)
        return site

    def declare(self, site: Path, value: str) -> None:
        info = site / "acme-1.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0.0\n")
        (info / "entry_points.txt").write_text(f"[stella.integrations.plugins]\nacme = {value}\n")

    def test_package_is_found_and_not_imported(self, site: Path) -> None:
        name = package_of("acme")
        package = site / name
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit")
        (package / "plugin.py").write_text("raise SystemExit")
        (package / "plugin.toml").write_text(a_manifest("acme"))
        self.declare(site, name)

        [found] = scan(Sources())

        assert (found.path, found.error) == (str(package), None)
        assert found.trust is PluginTrust.UNTRUSTED
        assert name not in sys.modules

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            pytest.param("acme_of_nowhere", "is no package", id="not installed"),
            pytest.param("json.decoder", "must name a top-level package", id="below a package"),
            pytest.param("acme:Plugin", "must name a top-level package", id="an object"),
            pytest.param("this", "is no package", id="a module"),
            pytest.param("json", "'plugin.toml' cannot be read", id="without manifest"),
        ],
    )
    def test_wrong_entry_point_is_a_row(self, site: Path, value: str, reason: str) -> None:
        self.declare(site, value)

        [found] = scan(Sources())

        assert reason in (found.error or "")


def test_stopped_scan_yields_nothing(tmp_path: Path) -> None:
    write_plugin(tmp_path / "example")

    with pytest.raises(ReadingStopped):
        scan(Sources(paths=[tmp_path], installed=False), stop=lambda: True)


async def test_scan_runs_beside_the_loop(tmp_path: Path) -> None:
    write_plugin(tmp_path / "example")

    found = await scan_in_thread(Sources(paths=[tmp_path], installed=False))

    assert [each.plugin_id for each in found] == ["example"]
