"""`python -m stella_discovery [--once]`."""

import argparse

from stella_discovery.app import serve
from stella_discovery.settings import DiscoverySettings
from stella_runtime.lifecycle import run_process

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stella_discovery")
    parser.add_argument(
        "--once", action="store_const", const=True, help="scan, store what was found, and exit"
    )
    run_process("discovery", DiscoverySettings, serve, parser=parser)
