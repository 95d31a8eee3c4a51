"""
Probes per second of blackbox_exporter on the core that our worker had.

It keeps no schedule and stores nothing: whoever wants that asks it by `/probe`, as here. Without
the program there is no figure, and a line says so.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.bench.stack import answers, process
from tests.support.ports import free_port

PROGRAM = "prometheus-blackbox-exporter"
CONNECTIONS = 50
WARM_UP_SECONDS = 1.0
SECONDS = 5.0

_CONFIG = """
modules:
  health:
    prober: http
    timeout: 10s
    http:
      fail_if_body_not_matches_regexp: ['"status":"healthy"']
"""


async def measure(origins: list[str]) -> dict[str, float]:
    """Empty without the program."""
    program = shutil.which(PROGRAM)
    if program is None:
        sys.stdout.write(f"No figure for blackbox_exporter: {PROGRAM} is not installed.\n")
        return {}
    with tempfile.TemporaryDirectory(prefix="stella-bench-") as folder:
        config = Path(folder) / "blackbox.yml"
        config.write_text(_CONFIG)
        port = free_port()
        async with process(
            f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
            environment={"GOMAXPROCS": "1"}, is_under_test=True, program=program,
        ):  # fmt: skip
            base = f"http://127.0.0.1:{port}"
            await answers(base)
            return {"blackbox_exporter": await _rate(base, origins)}


async def _rate(base: str, origins: list[str]) -> float:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    probes = 0
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(connector=connector) as session:

        async def probe_until(deadline: float) -> None:
            nonlocal probes
            while loop.time() < deadline:
                probes += 1
                origin = origins[probes % len(origins)]
                target = f"{origin}/registry-{probes}/api/v2.0/health"
                asked = {"target": target, "module": "health"}
                async with session.get(f"{base}/probe", params=asked) as answer:
                    if "\nprobe_success 1\n" not in await answer.text():
                        raise RuntimeError(f"The probe of {target} failed.")

        async def probe_for(seconds: float) -> None:
            deadline = loop.time() + seconds
            await asyncio.gather(*(probe_until(deadline) for _ in range(CONNECTIONS)))

        await probe_for(WARM_UP_SECONDS)
        probes, started = 0, time.perf_counter()
        await probe_for(SECONDS)
        return probes / (time.perf_counter() - started)
