"""The issuer that hands a token to whoever asks is in `make up`, and can be nowhere else."""

import os
import subprocess
import sys

import pytest
from tests.support.api import Authority, running_hub

from stella_runtime.persistence import Database


@pytest.mark.parametrize("environment", ["production", "embedded"])
async def test_the_api_has_none_in_any_environment(
    database: Database, authority: Authority, environment: str
) -> None:
    async with running_hub(database, authority, environment=environment) as hub:
        form = {"grant_type": "client_credentials", "tenant": "acme"}

        answer = await hub.client().post("http://hub.test/oauth/token", data=form)

        assert answer.status_code == 404


def test_what_has_it_does_not_start_for_production() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "stella_embedded", "up"],
        env=dict(os.environ) | {"STELLA_ENVIRONMENT": "production"},
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert outcome.returncode == 78
    assert "STELLA_ENVIRONMENT: Input should be 'embedded'" in outcome.stderr
