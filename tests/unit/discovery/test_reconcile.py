"""What a scan changes, and what it tells."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.manifest import Manifest
from stella_contracts.messages import EventType
from stella_contracts.plugins import PluginState, PluginTrust
from stella_discovery.reconcile import GONE, UNTRUSTED, Reconciliation, reconcile
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.scanner import Found

READY, REFUSED = PluginState.READY, PluginState.REFUSED
ERROR, CONFLICT, REMOVED = PluginState.ERROR, PluginState.CONFLICT, PluginState.REMOVED
REGISTERED, UPDATED = EventType.PLUGIN_REGISTERED, EventType.PLUGIN_UPDATED
GONE_EVENT = EventType.PLUGIN_REMOVED


def found(
    path: str,
    provider_type: str = "harbor",
    *,
    plugin_id: str | None = None,
    package: str | None = None,
    digest: str = "1",
    built_in: bool = True,
    error: str | None = None,
) -> Found:
    manifest = Manifest(
        id=plugin_id or provider_type,
        provider_type=provider_type,
        version="1.0.0",
        api_version=1,
        entry_point=f"{package or provider_type}.plugin:Plugin",
        config_schema={"type": "object"},
    )
    return Found(
        path=path,
        trust=PluginTrust.BUILT_IN if built_in else PluginTrust.UNTRUSTED,
        manifest=manifest,
        digest=None if error else digest,
        error=error,
    )


def after(*scans: Sequence[Found]) -> Reconciliation:
    """The last of these scans, each stored before the next."""
    stored: list[PluginRecord] = []
    outcome = reconcile([], [])
    for scan in scans:
        outcome = reconcile(scan, stored)
        stored = sorted(
            outcome.records,
            key=lambda record: next(
                (place for place, old in enumerate(stored) if old.path == record.path), 99
            ),
        )
    return outcome


def states(outcome: Reconciliation) -> dict[str, PluginState]:
    return {record.path: record.state for record in outcome.records}


def events(outcome: Reconciliation) -> dict[str, EventType | None]:
    return {change.record.path: change.event for change in outcome.changes}


A, B = found("/a"), found("/b")
STRANGER = found("/s", built_in=False)
BROKEN = found("/a", error="Broken.")


@pytest.mark.parametrize(
    ("scans", "expected_states", "expected_events"),
    [
        pytest.param([[]], {}, {}, id="nothing"),
        pytest.param([[A]], {"/a": READY}, {"/a": REGISTERED}, id="new"),
        pytest.param([[A], [A]], {"/a": READY}, {}, id="as before"),
        pytest.param([[A], [replace(A, digest="2")]], {"/a": READY}, {"/a": UPDATED}, id="changed"),
        pytest.param([[A], []], {"/a": REMOVED}, {"/a": GONE_EVENT}, id="gone"),
        pytest.param([[A], [], []], {"/a": REMOVED}, {}, id="still gone"),
        pytest.param([[A], [], [A]], {"/a": READY}, {"/a": REGISTERED}, id="back"),
        pytest.param([[BROKEN]], {"/a": ERROR}, {"/a": None}, id="broken from the start"),
        pytest.param([[BROKEN], [BROKEN]], {"/a": ERROR}, {}, id="still broken"),
        pytest.param([[BROKEN], []], {"/a": REMOVED}, {"/a": None}, id="broken and gone"),
        pytest.param([[BROKEN], [A]], {"/a": READY}, {"/a": REGISTERED}, id="mended"),
        pytest.param([[A], [BROKEN]], {"/a": ERROR}, {"/a": UPDATED}, id="broken later"),
        pytest.param([[STRANGER]], {"/s": REFUSED}, {"/s": None}, id="untrusted"),
        pytest.param(
            [[A, B]],
            {"/a": READY, "/b": CONFLICT},
            {"/a": REGISTERED, "/b": None},
            id="two of a type: one order for all",
        ),
        pytest.param(
            [[B], [A, B]], {"/a": CONFLICT, "/b": READY}, {"/a": None}, id="the earlier one stays"
        ),
        pytest.param(
            [[STRANGER], [A, STRANGER]],
            {"/a": READY, "/s": CONFLICT},
            {"/a": REGISTERED, "/s": None},
            id="a built-in one goes before an earlier one",
        ),
        pytest.param(
            [[A, B], [B]],
            {"/a": REMOVED, "/b": READY},
            {"/a": GONE_EVENT, "/b": REGISTERED},
            id="the winner is gone",
        ),
        pytest.param(
            [[A, B], [BROKEN, B]],
            {"/a": ERROR, "/b": READY},
            {"/a": UPDATED, "/b": REGISTERED},
            id="the winner is broken",
        ),
        pytest.param(
            [[A, B], [B], [A, B]],
            {"/a": CONFLICT, "/b": READY},
            {"/a": None},
            id="the former winner comes back",
        ),
        pytest.param(
            [[STRANGER], [A, STRANGER], [replace(A, trust=PluginTrust.UNTRUSTED), STRANGER]],
            {"/a": REFUSED, "/s": CONFLICT},
            {"/a": UPDATED},
            id="the winner is built in no more",
        ),
        pytest.param(
            [[A, found("/b", "gitlab", plugin_id="harbor")]],
            {"/a": READY, "/b": CONFLICT},
            {"/a": REGISTERED, "/b": None},
            id="two of an id",
        ),
        pytest.param(
            [[A, found("/b", "gitlab", package="harbor")]],
            {"/a": READY, "/b": CONFLICT},
            {"/a": REGISTERED, "/b": None},
            id="two of a package name",
        ),
        pytest.param(
            [[A, B, found("/c", "gitlab", plugin_id="other"), found("/d", "gitlab")]],
            {"/a": READY, "/b": CONFLICT, "/c": READY, "/d": CONFLICT},
            {"/a": REGISTERED, "/b": None, "/c": REGISTERED, "/d": None},
            id="two conflicts at once",
        ),
    ],
)
def test_scan_leads_to_states_and_events(
    scans: list[list[Found]],
    expected_states: dict[str, PluginState],
    expected_events: dict[str, EventType | None],
) -> None:
    outcome = after(*scans)

    assert states(outcome) == expected_states
    assert events(outcome) == expected_events


@pytest.mark.parametrize(
    ("scans", "path", "reason"),
    [
        pytest.param([[BROKEN]], "/a", "Broken.", id="error"),
        pytest.param([[STRANGER]], "/s", UNTRUSTED, id="refused"),
        pytest.param([[A], []], "/a", GONE, id="removed"),
        pytest.param([[A]], "/a", None, id="ready"),
        pytest.param(
            [[A, B]], "/b", "The type 'harbor' belongs to the plugin 'harbor' at /a.", id="conflict"
        ),
    ],
)
def test_row_says_why_a_plugin_cannot_be_used(
    scans: list[list[Found]], path: str, reason: str | None
) -> None:
    outcome = after(*scans)

    assert {r.path: r.last_error for r in outcome.records}[path] == reason


def test_summary_names_what_changed_and_what_failed() -> None:
    first = [A, found("/g", "gitlab"), found("/o", "oci"), replace(STRANGER, path="/s")]
    second = [replace(A, digest="2"), found("/n", "new"), replace(STRANGER, path="/s")]

    outcome = after(first, second)

    assert outcome.told(REGISTERED) == ["new"]
    assert outcome.told(UPDATED) == ["harbor"]
    assert outcome.removed == ["gitlab", "oci"]
    assert outcome.failed == ["harbor"]


@given(
    st.lists(
        st.lists(
            st.builds(
                found,
                st.sampled_from(["/a", "/b", "/c", "/d"]),
                st.sampled_from(["harbor", "gitlab"]),
                digest=st.sampled_from(["1", "2"]),
                built_in=st.booleans(),
                error=st.sampled_from([None, None, "Broken."]),
            ),
            max_size=4,
            unique_by=lambda each: each.path,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_scans_of_any_folders_keep_the_catalog_sound(scans: list[list[Found]]) -> None:
    outcome = after(*scans)
    repeated = after(*scans, scans[-1])

    ready = [r.manifest.provider_type for r in outcome.records if r.state is READY and r.manifest]
    assert len(ready) == len(set(ready))
    assert all(r.trust is PluginTrust.BUILT_IN for r in outcome.records if r.state is READY)
    assert not repeated.changes
    assert [c.record.state is READY for c in outcome.changes] == sorted(
        c.record.state is READY for c in outcome.changes
    )
