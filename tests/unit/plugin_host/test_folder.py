"""The digest of a folder says whether it is the same one, and nothing else does."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stella_runtime.plugin_host.folder import Folder, read_folder

# No name is one of a folder, so that any set of them can exist.
PATHS = st.sampled_from([f"{way}{name}" for way in ("", "a/", "a/b/") for name in ("x", "xy", "y")])
FILES = st.dictionaries(PATHS, st.binary(max_size=12), max_size=5)


def read(files: Mapping[str, bytes]) -> Folder:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return read_folder(Path(folder), keep=lambda _: True)


@given(FILES, FILES)
def test_digests_are_equal_if_and_only_if_names_and_contents_are(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (read(one).digest == read(other).digest) == (one == other)


@given(FILES, PATHS, st.binary(max_size=12), st.data())
def test_every_byte_and_every_name_counts(
    files: dict[str, bytes], name: str, content: bytes, data: st.DataObject
) -> None:
    before = {**files, name: content + b"x"}
    place = data.draw(st.integers(0, len(content)))
    changed = bytearray(before[name])
    changed[place] ^= data.draw(st.integers(1, 255))
    renamed = {**before, f"{name}-": before[name]}
    del renamed[name]

    digest = read(before).digest

    assert read({**before, name: bytes(changed)}).digest != digest
    assert read(renamed).digest != digest


@given(FILES)
def test_what_is_kept_is_what_the_folder_holds(files: dict[str, bytes]) -> None:
    folder = read(files)

    assert folder.kept == files
    assert folder.names == files.keys()


def test_bytes_cannot_move_between_a_name_and_its_content() -> None:
    assert read({"a": b"bc"}).digest != read({"ab": b"c"}).digest


def test_bytecode_does_not_count() -> None:
    sources = {"plugin.py": b"1"}
    compiled = {"__pycache__/plugin.cpython-311.pyc": b"2", "plugin.pyc": b"3"}

    assert read({**sources, **compiled}).digest == read(sources).digest


def test_place_of_the_folder_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "plugin.py").write_text("1")
    shutil.copytree(tmp_path / "one", tmp_path / "two")

    digests = {read_folder(tmp_path / n, keep=lambda _: False).digest for n in ("one", "two")}

    assert len(digests) == 1


def test_content_cannot_pass_for_another_file() -> None:
    frame = (1).to_bytes(8) + b"b"

    assert read({"a": frame + b"y"}).digest != read({"a": b"", "b": b"y"}).digest
