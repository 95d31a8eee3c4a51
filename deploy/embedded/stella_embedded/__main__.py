"""`python -m stella_embedded up [--port N] [--detach]` and `down`."""

import argparse
import sys

import uvloop

from stella_contracts.errors import StellaError
from stella_embedded import background
from stella_embedded.app import serve
from stella_embedded.settings import EmbeddedSettings
from stella_runtime.lifecycle import read_settings


def main() -> int:
    """Run the command, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stella_embedded")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything in one process")
    up.add_argument("--port", type=int)
    up.add_argument("--detach", action="store_true", help="return when it is ready")
    commands.add_parser("down", help="stop what was started")
    arguments = parser.parse_args()
    given = {"port": arguments.port} if getattr(arguments, "port", None) is not None else {}
    settings = read_settings(EmbeddedSettings, **given)
    try:
        if arguments.command == "down":
            stopped = background.stop(settings.folder)
            sys.stdout.write("Stopped.\n" if stopped else "Nothing is running.\n")
        elif arguments.detach:
            sys.stdout.write(background.start(settings))
        else:
            settings.folder.mkdir(parents=True, exist_ok=True)
            with background.only_one(settings.folder):
                uvloop.run(serve(settings))
    except (background.NotStarted, StellaError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
