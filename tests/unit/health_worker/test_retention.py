"""For how long the history is kept."""

from typing import Any

import pytest
from pydantic import ValidationError

from stella_health_worker.settings import HealthWorkerSettings


def settings(**fields: Any) -> HealthWorkerSettings:
    return HealthWorkerSettings(database_url="postgresql://x", amqp_url="amqp://x", **fields)


@pytest.mark.parametrize(
    "days",
    [
        pytest.param({"history_raw_days": 401}, id="checks longer than hours"),
        pytest.param({"history_hourly_days": 1101}, id="hours longer than days"),
        pytest.param({"history_raw_days": 0}, id="no checks at all"),
    ],
)
def test_what_is_made_of_something_is_kept_as_long_as_it(days: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        settings(**days)


def test_all_may_be_kept_equally_long() -> None:
    kept = settings(history_raw_days=90, history_hourly_days=90, history_daily_days=90)

    assert kept.history_raw_days == kept.history_daily_days
