"""What a log line looks like."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.logging import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_is_json_with_the_names_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api")

    structlog.get_logger().info(
        "integration_checked",
        integration_id="i",
        tenant_id="acme",
        provider_type="harbor",
        action="health_check",
    )

    line = json.loads(capsys.readouterr().out)
    assert line["event"] == "integration_checked"
    assert line["service"] == "api"
    named = {name: line[name] for name in ("integrationId", "tenantId", "providerType", "action")}
    assert named == {
        "integrationId": "i",
        "tenantId": "acme",
        "providerType": "harbor",
        "action": "health_check",
    }


@pytest.mark.parametrize("name", ["authorization", "token", "password", "secret"])
def test_a_field_that_is_a_secret_is_masked(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure_logging("info", service="api")

    structlog.get_logger().info("token_renewed", **{name: "hunter2"})

    assert "hunter2" not in capsys.readouterr().out


def test_other_libraries_write_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api")

    logging.getLogger("somebody.else").warning("it is late")

    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["level"], line["service"]) == ("it is late", "warning", "api")


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", service="api")

    structlog.get_logger().info("integration_checked")

    assert capsys.readouterr().out == ""


def test_a_line_names_the_trace_that_it_is_part_of(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api")
    trace = "0af7651916cd43dd8448eb211c80319c"

    with tracing.resumed({"traceparent": f"00-{trace}-b7ad6b7169203331-01"}):
        structlog.get_logger().info("within")
        logging.getLogger("somebody.else").warning("also within")
    structlog.get_logger().info("outside")

    within, other, outside = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert within["traceId"] == other["traceId"] == trace
    assert "traceId" not in outside


@pytest.mark.parametrize(
    "secret",
    [
        "Bearer " + "hunter2hunter2",
        "Basic " + "aHVudGVyMjpodW50ZXIy",
        "robot:hunter2",
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl",
        "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA " + "PRIVATE KEY-----",
        "ghp_" + "a1B2" * 9,
        "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
        "hvs." + "CAESIJlWvL1cAbCdEfGhIjKlMn",
    ],
)
def test_a_credential_in_any_text_is_masked(
    capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    configure_logging("info", service="api")
    url = f"https://{secret}@registry.test/v2" if ":hunter2" in secret else secret

    structlog.get_logger().info("request_failed", reason=f"Cannot reach {url}.")
    try:
        int(f"While {url} was read")
    except ValueError:
        structlog.get_logger().exception("request_failed")
    logging.getLogger("somebody.else").warning("what about %s", url)

    out = capsys.readouterr().out
    assert secret not in out
    assert secret not in "".join(str(list(json.loads(line).values())) for line in out.splitlines())
    assert out.count("***") == 3


def test_ordinary_texts_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", service="api")
    text = "authref://vault/ci/harbor#robot at https://registry.test:8443/a@b: Basic checks pass"

    structlog.get_logger().info("told", reason=text)

    assert json.loads(capsys.readouterr().out)["reason"] == text
