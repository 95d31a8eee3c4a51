"""What the host lends a plugin."""

import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.health import ErrorCode, StepResult
from stella_contracts.plugin import CheckFailed, Secret, Steps

TEXT = st.text(st.characters(categories=["L", "N"]), min_size=8)


@given(st.dictionaries(st.sampled_from(["username", "password", "token"]), TEXT, min_size=1))
def test_no_text_form_of_a_secret_shows_it(fields: dict[str, str]) -> None:
    secret = Secret(fields)

    forms = [repr(secret), str(secret), f"{secret}", f"{[secret]}", "%s" % secret]  # noqa: UP031

    # The names are shown, and a value may look like one.
    values = [value for value in fields.values() if not any(value in name for name in fields)]
    assert not [value for value in values for form in forms if value in form]


def test_traceback_and_log_do_not_show_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret({"a": "hunter2", "b": "hunter3"})

    with pytest.raises(CheckFailed) as caught:
        _ = secret.value
    logging.getLogger("test").warning("%r %s", secret, caught.value)

    assert "hunter" not in "".join(traceback.format_exception(caught.value))
    assert "hunter" not in caplog.text


def test_only_field_is_the_value() -> None:
    assert Secret({"robot": "hunter2"}).value == "hunter2"


@pytest.mark.parametrize("fields", [{}, {"a": "1", "b": "2"}], ids=["none", "two"])
def test_secret_of_any_other_number_of_fields_has_no_value(fields: dict[str, str]) -> None:
    with pytest.raises(CheckFailed) as caught:
        _ = Secret(fields).value

    assert caught.value.code is ErrorCode.SECRET_UNRESOLVABLE


def test_secret_is_not_changed_from_outside() -> None:
    fields = {"a": "1"}
    secret = Secret(fields)

    fields["a"] = "2"

    assert secret.get("a") == "1"
    assert secret.get("b") is None


def test_step_fails_with_its_block_and_passes_without() -> None:
    steps = Steps()

    with steps.step("request"):
        pass
    with pytest.raises(CheckFailed), steps.step("authenticate"):
        raise CheckFailed(ErrorCode.AUTH_REJECTED, "x")
    steps.add("permissions", StepResult.SKIPPED)

    assert [(step.name, step.result) for step in steps.taken] == [
        ("request", StepResult.PASSED),
        ("authenticate", StepResult.FAILED),
        ("permissions", StepResult.SKIPPED),
    ]
