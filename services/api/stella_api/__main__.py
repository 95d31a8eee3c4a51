"""`python -m stella_api [--check-settings]`."""

from stella_api.app import serve
from stella_api.settings import ApiSettings
from stella_runtime.lifecycle import run_process

if __name__ == "__main__":
    run_process("api", ApiSettings, serve)
