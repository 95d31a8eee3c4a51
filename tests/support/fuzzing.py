"""schemathesis against a served hub: what it is told, and what it says."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.tenants import SHARED, Owner

_PROGRAM = Path(sys.executable).with_name("schemathesis")

# Valid by the schema, and still refused: by what JSON Schema cannot say (a cursor is signed, a
# config fits its plugin, a mute ends in the future, a disabled webhook is not tried).
_ACCEPTED = ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "422", "428", "429"]

_LINES = """
import schemathesis

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    failures: str
    """What it found, with the commands that show it again; empty if nothing."""
    examples: int
    """Requests that it thought of."""


async def fuzz(
    url: str, owner: Owner, folder: Path, *, headers: Mapping[str, str], arguments: Sequence[str]
) -> Outcome:
    """Let schemathesis loose on a hub, with the ids of what an owner has."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text(_configuration(owner))
    (folder / "lines.py").write_text(_LINES)
    given = [f"--header={name}: {value}" for name, value in headers.items()]
    process = await asyncio.create_subprocess_exec(
        str(_PROGRAM),
        f"--config-file={configuration}",
        "run",
        f"{url}/openapi.json",
        "--no-color",
        "--continue-on-failure",
        "--request-timeout=30",
        *given,
        *arguments,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=folder,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode(errors="replace")
    counted = re.search(r"([\d,]+) generated", said)
    return Outcome(
        failures="" if process.returncode == 0 else said,
        examples=int(counted[1].replace(",", "")) if counted else 0,
    )


def _configuration(owner: Owner) -> str:
    dictionaries = {name: [value] for name, value in {**owner.ids, **SHARED}.items()}
    lines = [
        "warnings = false",
        'hooks = "lines"',
        "[checks]",
        f"positive_data_acceptance.expected-statuses = {json.dumps(_ACCEPTED)}",
        "[generation]",
        "allow-x00 = true",
        'database = "none"',
        "[dictionaries]",
        *(f"{name}.values = {json.dumps(values)}" for name, values in dictionaries.items()),
        "[parameters]",
        *(
            f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}'
            for name in dictionaries
        ),
        # It would be followed until the token ends.
        '"query.follow" = false',
    ]
    return "\n".join(lines) + "\n"
