"""`stella db`: applies and takes back the revisions of the schema."""

from pathlib import Path
from typing import Annotated

import typer
from alembic import command
from alembic.config import Config

from stella_runtime.persistence.connect import driver_url

DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="STELLA_DATABASE_URL",
        show_default=False,
        help="postgresql://user:password@host/stellaops_integrations, as the tables' owner.",
    ),
]

db = typer.Typer(no_args_is_help=True, help="The database schema (for operators).")


def configuration(database_url: str) -> Config:
    """Alembic's settings for one database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    # `%` starts an interpolation in Alembic's settings, and is common in passwords.
    config.set_main_option("sqlalchemy.url", driver_url(database_url).replace("%", "%%"))
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`. Does nothing where it is there already. Blocks."""
    command.upgrade(configuration(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take the schema back to `revision` (`base` is the empty database). Blocks."""
    command.downgrade(configuration(database_url), revision)


@db.command("upgrade")
def upgrade_command(
    database_url: DatabaseUrl, revision: Annotated[str, typer.Argument()] = "head"
) -> None:
    """Bring the schema to a revision, the newest by default."""
    upgrade(database_url, revision)
    typer.echo(f"The schema is at {revision}.")


@db.command("downgrade")
def downgrade_command(database_url: DatabaseUrl, revision: str) -> None:
    """Take the schema back to a revision. `base` drops everything."""
    downgrade(database_url, revision)
    typer.echo(f"The schema is at {revision}.")


@db.command("current")
def current_command(database_url: DatabaseUrl) -> None:
    """Print the revision that the database is at."""
    command.current(configuration(database_url))
