"""`python -m stella_health_worker [--role worker|scheduler|all]`."""

import argparse

from stella_health_worker.app import serve
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.lifecycle import run_process

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stella_health_worker")
    parser.add_argument("--role", choices=["worker", "scheduler", "all"])
    run_process("health-worker", HealthWorkerSettings, serve, parser=parser)
