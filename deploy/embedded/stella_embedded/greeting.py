"""What `make up` tells its user: where it is, who they are, what to try."""

from pathlib import Path

from stella_embedded.settings import EmbeddedSettings


def write_environment(settings: EmbeddedSettings, *, url: str, token: str) -> None:
    """Leave the address and the token in `dev.env`, readable for this user alone."""
    path = settings.folder / "dev.env"
    path.touch(mode=0o600)
    path.write_text(f"STELLA_URL={url}\nSTELLA_TOKEN={token}\nSTELLA_TENANT={settings.tenant}\n")


def greeting(settings: EmbeddedSettings, *, url: str, token: str) -> str:
    """The address, a token and three commands, ready to be pasted."""
    environment = _short(settings.folder / "dev.env")
    stella = _short(Path(".venv/bin/stella").absolute())
    return f"""
Stella Ops Integrations is up: {url}   (API description: {url}/docs)

Development token of tenant {settings.tenant}, good for 12 hours:
{token}

Three commands to try, in another terminal:
  set -a; . {environment}; set +a
  {stella} integrations create --type in-memory --name first --config script='["healthy"]'
  {stella} integrations check first

This is for development: anybody who reaches the port gets a token. Nothing was registered.
Events of the bus are shown below. Ctrl-C stops it.
"""


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
