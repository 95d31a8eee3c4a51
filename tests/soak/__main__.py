"""`make soak`: ten minutes of ten thousand integrations, in a fifth of the time."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from stella_migrations.commands import upgrade
from tests.soak.run import Plan, Report, run
from tests.support.postgres import binaries_of, running_server
from tests.support.processes import running_system
from tests.support.rabbitmq import local_server


def main() -> None:
    plan = _plan()
    with running_server(binaries_of(None)) as postgres, local_server() as rabbitmq:
        upgrade(postgres.url())
        virtual_host = f"soak-{uuid4().hex}"
        rabbitmq.management.create_virtual_host(virtual_host)
        amqp_url = f"{rabbitmq.amqp}/{virtual_host}"

        async def soak() -> Report:
            with tempfile.TemporaryDirectory(prefix="stella-soak-") as folder:
                async with running_system(postgres.url(), amqp_url, Path(folder)) as system:
                    system.environment["STELLA_LOG_LEVEL"] = "warning"
                    return await run(plan, system, postgres.url(), amqp_url, rabbitmq.management)

        report = asyncio.run(soak())
    _tell(plan, report)
    sys.exit(0 if report.account.is_clean and report.held.is_flat else 1)


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--integrations", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10, help="of the schedule's time")
    parser.add_argument("--factor", type=float, default=5, help="how much faster that passes")
    parser.add_argument("--interval", type=int, default=60, help="seconds between two checks")
    parser.add_argument("--steady", type=float, default=90, help="seconds to look for leaks")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return Plan(
        integrations=given.integrations,
        seconds=given.minutes * 60 / given.factor,
        factor=given.factor,
        interval_seconds=given.interval,
        steady_seconds=given.steady,
        rest_seconds=900,
        seed=given.seed,
    )


def _tell(plan: Plan, report: Report) -> None:
    account = report.account
    killed = ", ".join(f"{name} {count}" for name, count in report.kills.items())
    again = report.deliveries - report.events
    lines = {
        "run": f"{plan.integrations} integrations, {plan.schedulers} schedulers,"
        f" {plan.workers} workers, {report.seconds:.0f} s",
        "time passed faster": f"{plan.factor:g} times",
        "killed": killed,
        "slots": f"{account.slots}",
        "checks": f"{account.checks}, {account.checks / report.seconds:.0f}/s",
        "events": f"{report.events}, delivered again {again}",
        "outages": f"{account.outages}",
        "lost slots": f"{account.lost_slots}",
        "miscounted": f"{account.miscounted}",
        "wrong alerts": f"{account.wrong_alerts}",
        "wrong changes": f"{account.wrong_changes}",
        "unpublished": f"{account.unpublished}",
        "channels": "{:g} -> {:g}".format(*report.held.channels()),
    }
    lines |= {
        each.name: "descriptors {:g} -> {:g}, memory {:.0f} -> {:.0f} MiB".format(
            *each.descriptors, *each.memory
        )
        for each in report.held.growths()
    }
    sys.stdout.writelines(f"{name:20} {value}\n" for name, value in lines.items())
    sys.stdout.writelines(f"{example}\n" for example in account.examples)


if __name__ == "__main__":
    main()
