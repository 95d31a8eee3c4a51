"""What clients send to register and change an integration."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stella_contracts.auth_ref import AuthRef
from stella_contracts.integrations import IntegrationCreate, IntegrationUpdate

SECRET = "hunter2-hunter2"
_BOUNDS = {"checkIntervalSeconds": (30, 86400), "checkTimeoutSeconds": (1, 60)} | dict.fromkeys(
    ("failureThreshold", "successThreshold"), (1, 20)
)


def create(**fields: Any) -> IntegrationCreate:
    return IntegrationCreate.model_validate({"type": "harbor", "name": "eu"} | fields)


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


def places_of(error: ValidationError) -> list[str]:
    return [".".join(map(str, each["loc"])) for each in error.errors()]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        pytest.param({"type": "Harbor"}, "type", id="type in capitals"),
        pytest.param({"type": "a.b"}, "type", id="dot in the type"),
        pytest.param({"type": "harbor\n"}, "type", id="line end in the type"),
        pytest.param({"type": "a" * 65}, "type", id="long type"),
        pytest.param({"name": ""}, "name", id="empty name"),
        pytest.param({"name": "   "}, "name", id="blank name"),
        pytest.param({"name": "a" * 201}, "name", id="long name"),
        pytest.param({"name": "a\x00b"}, "name", id="NUL in the name"),
        pytest.param({"name": "a\x1bb"}, "name", id="escape in the name"),
        pytest.param({"name": "\ud800"}, "name", id="half a surrogate pair in the name"),
        pytest.param({"description": "a\x00b"}, "description", id="NUL in the description"),
        pytest.param({"description": "a" * 2001}, "description", id="long description"),
        pytest.param({"config": None}, "config", id="null config"),
        pytest.param({"config": []}, "config", id="list for a config"),
        pytest.param({"config": {"a": "\x00"}}, "config", id="NUL in the config"),
        pytest.param({"config": {"\x00": 1}}, "config", id="NUL in a key"),
        pytest.param({"config": {"a": ["\ud800"]}}, "config", id="half a pair in the config"),
        pytest.param({"config": {"a": float("nan")}}, "config", id="NaN"),
        pytest.param({"config": {"a": float("inf")}}, "config", id="infinity"),
        pytest.param({"config": {"a": 2**63}}, "config", id="beyond 64 bits"),
        pytest.param({"config": nested(33)}, "config", id="nested too deeply"),
        pytest.param({"config": nested(5000)}, "config", id="nested without end"),
        pytest.param({"authRefUri": SECRET}, "authRefUri", id="the secret itself"),
        pytest.param({"authRefUri": 1}, "authRefUri", id="number for a reference"),
        pytest.param({"tags": ["a b"]}, "tags.0", id="space in a tag"),
        pytest.param({"tags": ["a"] * 33}, "tags", id="too many tags"),
        pytest.param({"tenantId": "acme"}, "tenantId", id="a field that is not the client's"),
        pytest.param({"nmae": "x"}, "nmae", id="misspelt field"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        create(**fields)

    assert places_of(caught.value) == [place]


@pytest.mark.parametrize(("field", "bounds"), _BOUNDS.items(), ids=_BOUNDS)
@pytest.mark.parametrize("model", [create, IntegrationUpdate], ids=["create", "update"])
def test_numbers_have_bounds(model: Any, field: str, bounds: tuple[int, int]) -> None:
    for within in bounds:
        model(**{field: within})
    for outside in (bounds[0] - 1, bounds[1] + 1, 2**70):
        with pytest.raises(ValidationError):
            model(**{field: outside})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
        max_leaves=20,
    )
)
def test_config_that_is_taken_can_be_written_as_utf8_json(value: Any) -> None:
    try:
        taken = create(config={"a": value})
    except ValidationError:
        return

    written = json.dumps(taken.config, allow_nan=False, ensure_ascii=False).encode()

    assert json.loads(written) == {"a": value}
    assert b"\\u0000" not in written


def test_text_of_several_lines_is_taken() -> None:
    taken = create(description="one\n\ttwo\r\n", config={"ca": "-----BEGIN\n"})

    assert taken.description == "one\n\ttwo\r\n"
    assert taken.config == {"ca": "-----BEGIN\n"}


def test_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(ValidationError) as caught:
        create(authRefUri=SECRET, config={"token\x00": SECRET}, password=SECRET)

    assert SECRET not in str(caught.value)


def test_refusal_names_the_place_inside_the_config() -> None:
    with pytest.raises(ValidationError, match="At /a~1b/0: NUL is not allowed"):
        create(config={"a/b": ["\x00"]})


def test_name_loses_the_space_around_it_and_tags_their_order() -> None:
    taken = create(name="  eu ", tags=["b", "a", "b"])

    assert (taken.name, taken.tags) == ("eu", ["a", "b"])


@pytest.mark.parametrize("given_as", ["text", "value"])
def test_reference_is_a_value_inside_and_text_outside(given_as: str) -> None:
    reference = AuthRef("env", "HARBOR")
    taken = create(authRefUri=str(reference) if given_as == "text" else reference)

    assert taken.auth_ref_uri == reference
    assert taken.model_dump(mode="json")["authRefUri"] == "authref://env/HARBOR"


@pytest.mark.parametrize(
    "field", sorted(set(IntegrationUpdate.model_fields) - {"auth_ref_uri"}), ids=str
)
def test_update_cannot_empty_a_field_with_null(field: str) -> None:
    with pytest.raises(ValidationError, match="may not be null"):
        IntegrationUpdate.model_validate({field: None})


def test_update_changes_what_was_sent_and_nothing_else() -> None:
    update = IntegrationUpdate.model_validate({"authRefUri": None, "enabled": False})

    assert update.changes == {"auth_ref_uri": None, "enabled": False}


def test_update_has_no_type_to_change() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        IntegrationUpdate.model_validate({"type": "gitlab"})
