"""References to secrets: read once, written back the same, never repeated in an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.auth_ref import MAX_LENGTH, AuthRef
from stella_contracts.errors import MalformedAuthRef

VAULT = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
SEGMENT = st.from_regex(r"[A-Za-z0-9_.~+@=:-]{1,30}", fullmatch=True).filter(
    lambda segment: segment not in {".", ".."}
)
FIELD = st.none() | st.from_regex(r"[A-Za-z0-9_.-]{1,30}", fullmatch=True)
REFERENCES = st.builds(
    lambda vault, path, field: AuthRef(vault, "/".join(path), field),
    VAULT,
    st.lists(SEGMENT, min_size=1, max_size=5),
    FIELD,
)


@given(REFERENCES)
def test_reference_survives_being_written_and_read(reference: AuthRef) -> None:
    assert AuthRef.parse(str(reference)) == reference


@given(st.text() | st.text().map("authref://{}".format) | st.from_regex(r"authref://\S+/\S+"))
def test_text_is_read_without_loss_or_refused(text: str) -> None:
    try:
        reference = AuthRef.parse(text)
    except MalformedAuthRef:
        return

    assert str(reference) == text


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12))
def test_error_never_repeats_the_input(text: str) -> None:
    for pasted in (text, f"authref://{text}", f"authref://env/{text}/ "):
        with pytest.raises(MalformedAuthRef) as caught:
            AuthRef.parse(pasted)

        assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "vault", "path", "field"),
    [
        pytest.param("authref://vault/ci/harbor#robot", "vault", "ci/harbor", "robot", id="field"),
        pytest.param("authref://env/HARBOR_ROBOT", "env", "HARBOR_ROBOT", None, id="environment"),
        pytest.param(
            "authref://azure-keyvault/name/secret",
            "azure-keyvault",
            "name/secret",
            None,
            id="azure",
        ),
        pytest.param("authref://vault/a/...", "vault", "a/...", None, id="three dots are a name"),
    ],
)
def test_parts_are_told_apart(text: str, vault: str, path: str, field: str | None) -> None:
    assert AuthRef.parse(text) == AuthRef(vault, path, field)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("hunter2", id="the secret itself"),
        pytest.param("AUTHREF://vault/a", id="scheme in capitals"),
        pytest.param("authref://vault", id="no path"),
        pytest.param("authref://vault/", id="empty path"),
        pytest.param("authref:///a", id="no vault"),
        pytest.param("authref://Vault/a", id="vault in capitals"),
        pytest.param("authref://vault//a", id="empty segment"),
        pytest.param("authref://vault/a/", id="slash at the end"),
        pytest.param("authref://vault/a/../b", id="parent folder"),
        pytest.param("authref://vault/./a", id="same folder"),
        pytest.param("authref://vault/a#", id="empty field"),
        pytest.param("authref://vault/a#b#c", id="two fields"),
        pytest.param("authref://vault/a\n", id="line end"),
        pytest.param("authref://vault/a%2e%2e", id="escapes"),
        pytest.param("authref://vault/ä", id="beyond ASCII"),
        pytest.param("authref://vault/a?b=c", id="query"),
        pytest.param("authref://" + "a/" * MAX_LENGTH, id="too long"),
    ],
)
def test_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(MalformedAuthRef):
        AuthRef.parse(text)
