"""Manifests: anything may lie in a plugin's folder."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.errors import ManifestRejected
from stella_contracts.manifest import MAX_BYTES, Manifest

SOUND = """
id = "acme"
provider_type = "acme"
version = "1.2.3"
api_version = 1
entry_point = "stella_plugin_acme.plugin:Acme"
config_schema = { type = "object" }
"""


def changed(name: str, value: str) -> bytes:
    kept = [line for line in SOUND.splitlines() if not line.startswith(f"{name} =")]
    return "\n".join([f"{name} = {value}", *kept]).encode()


def test_manifest_says_what_it_does_not_have_to() -> None:
    manifest = Manifest.read(SOUND.encode())

    assert manifest.capabilities == ["health"]
    assert manifest.identity_fields == ["endpoint"]
    assert (manifest.default_interval_seconds, manifest.default_timeout_seconds) == (300, 10)


LINES = st.lists(
    st.builds(
        "{} = {}".format,
        st.sampled_from([*Manifest.model_fields, "x", '"/~"']),
        st.sampled_from(
            ["1", "true", '""', '"a-b"', "[]", "{}", "nan", "1979-05-27", "0x" + "f" * 5000]
        ),
    ),
    max_size=12,
).map(lambda lines: "\n".join(lines).encode())


@given(st.binary() | st.text().map(str.encode) | LINES)
def test_whatever_lies_there_is_read_or_rejected(content: bytes) -> None:
    with suppress(ManifestRejected):
        assert Manifest.read(content).api_version == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\xff", "is not TOML", id="not UTF-8"),
        pytest.param(b"a = " + b"[" * 9000, "is not TOML", id="nested without end"),
        pytest.param(b"a = " + b"9" * 9000, "a number is too long", id="number without end"),
        pytest.param(b"#" * (MAX_BYTES + 1), "has more than 65536 bytes", id="too large"),
        pytest.param(b"", "api_version None; this hub accepts 1", id="empty"),
        pytest.param(changed("api_version", "2"), "api_version 2;", id="newer"),
        pytest.param(changed("api_version", "true"), "api_version True;", id="true is not 1"),
        pytest.param(changed("api_version", "1.0"), "api_version 1.0;", id="1.0 is not 1"),
        pytest.param(
            changed("api_version", "0x" + "f" * 9000), "api_version is too long", id="huge version"
        ),
        pytest.param(changed("colour", "1"), "/colour: Extra inputs", id="unknown field"),
        pytest.param(changed('"a/b~"', "1"), "/a~1b~0: Extra", id="pointer is escaped"),
        pytest.param(changed("version", '"1.2"'), "/version: ", id="version"),
        pytest.param(
            changed("version", '"\u0661.\u0662.\u0663"'), "/version: ", id="digits of other scripts"
        ),
        pytest.param(changed("version", '"1.2.3\\n"'), "/version: ", id="line end"),
        pytest.param(changed("provider_type", '"a.b"'), "/provider_type: ", id="dot in the type"),
        pytest.param(changed("entry_point", '"a.b"'), "/entry_point: ", id="no class"),
        pytest.param(changed("default_interval_seconds", "29"), "/default_in", id="interval"),
        pytest.param(changed("default_timeout_seconds", "61"), "/default_ti", id="timeout"),
    ],
)
def test_rejection_says_where_and_why(content: bytes, reason: str) -> None:
    with pytest.raises(ManifestRejected) as caught:
        Manifest.read(content)

    assert reason in str(caught.value)


def test_rejection_lists_what_is_wrong() -> None:
    with pytest.raises(ManifestRejected) as caught:
        Manifest.read(b'api_version = 1\nversion = "one"')

    pointers = [problem.pointer for problem in caught.value.problems]
    assert "/version" in pointers
    assert "/entry_point" in pointers
