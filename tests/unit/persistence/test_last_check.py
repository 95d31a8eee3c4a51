"""What is stored as the last check is what readers take it for."""

from datetime import UTC, datetime
from uuid import UUID

import orjson

from stella_contracts.health import (
    CheckTrigger,
    ErrorCode,
    FinishedCheck,
    HealthResult,
    Step,
    StepResult,
)
from stella_runtime.persistence.scheduling import Outcome, Target, last_check

TARGET = Target(
    check_id=UUID(int=1),
    trigger=CheckTrigger.SCHEDULE,
    integration_id=UUID(int=2),
    tenant_id="acme",
    provider_type="harbor",
    config={},
    auth_ref_uri=None,
    timeout_seconds=5,
    version=3,
    checks_before=7,
    connection=None,
    lease_token=11,
)
OUTCOME = Outcome(
    target=TARGET,
    result=HealthResult.unhealthy(ErrorCode.TLS, "certificate expired"),
    connection=None,
    latency_ms=41,
    steps=[Step(name="connect", result=StepResult.PASSED, ms=1.25)],
    checked_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    worker="one",
)


def test_last_check_is_the_json_of_a_finished_check() -> None:
    stored = orjson.dumps(last_check(OUTCOME))

    assert FinishedCheck.model_validate_json(stored) == FinishedCheck(
        check_id=TARGET.check_id,
        integration_id=TARGET.integration_id,
        trigger=TARGET.trigger,
        status=OUTCOME.result.status,
        error_code=OUTCOME.result.error_code,
        error_message=OUTCOME.result.error_message,
        latency_ms=OUTCOME.latency_ms,
        checked_at=OUTCOME.checked_at,
        steps=list(OUTCOME.steps),
    )


def test_no_field_of_a_finished_check_is_left_out() -> None:
    names = {field.alias for field in FinishedCheck.model_fields.values()}

    assert set(last_check(OUTCOME)) == names
