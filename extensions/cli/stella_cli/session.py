"""Which server to call, and with which token: from the environment, else from the login."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from stella_cli.failures import Refused

_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True)
class Session:
    """One server and one token for it."""

    url: str
    token: str = field(repr=False)
    tenant: str | None = None
    """What the user called the tenant. The token's claim is what counts."""


def find_session(environment: Mapping[str, str]) -> Session:
    """
    STELLA_URL and STELLA_TOKEN, each else from the last login.

    The token of a login is used for the server of that login and for no other.
    Raises Refused, which says what to do, when one of them is missing or unusable.
    """
    url, token = environment.get("STELLA_URL"), environment.get("STELLA_TOKEN")
    stored = None if url and token else _stored(environment)
    url = url or (stored.url if stored else None)
    if not url:
        raise Refused(
            "Which server? Log in with `stella login --url URL`,"
            " or set STELLA_URL and STELLA_TOKEN."
        )
    url = parse_url(url)
    tenant = environment.get("STELLA_TENANT")
    if token:
        return Session(url, parse_token(token), tenant)
    if stored and stored.url == url:
        return Session(url, stored.token, tenant or stored.tenant)
    raise Refused(
        f"No token for {url}. Log in with `stella login --url {url}`, or set STELLA_TOKEN."
    )


def save_session(environment: Mapping[str, str], session: Session) -> Path:
    """Keep the login, in a file that only its owner can read. Raises Refused if that fails."""
    path = session_path(environment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp opens with 0600, and the rename leaves no moment with half a file.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".session-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(session), file, indent=2)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Refused(f"The login cannot be kept in {path}: {error.strerror}.") from None
    return path


def forget_session(environment: Mapping[str, str]) -> bool:
    """Delete the login. Returns whether there was one. Raises Refused if that fails."""
    path = session_path(environment)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Refused(f"{path} cannot be deleted: {error.strerror}.") from None
    return True


def session_path(environment: Mapping[str, str]) -> Path:
    """Where the login is kept (XDG Base Directory)."""
    given = environment.get("XDG_CONFIG_HOME", "")
    # The specification has relative paths ignored.
    folder = Path(given) if given.startswith("/") else _home(environment) / ".config"
    return folder / "stella" / "session.json"


def parse_url(text: str) -> str:
    """The root of a server, without a slash at its end. Raises Refused."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        raise Refused("The URL of the server cannot be read.") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise Refused("The URL of the server must begin with http:// or https:// and name a host.")
    if url.userinfo or url.query or url.fragment:
        raise Refused("The URL of the server may hold neither a user, a query nor a fragment.")
    return str(url).rstrip("/")


def parse_token(text: str) -> str:
    """A token as a header can carry it. Raises Refused, without repeating the token."""
    token = text.strip()
    if not _SENDABLE.fullmatch(token):
        raise Refused("The token is empty or holds characters that no token has.")
    return token


def _stored(environment: Mapping[str, str]) -> Session | None:
    path = session_path(environment)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Session(
            parse_url(document["url"]), parse_token(document["token"]), document.get("tenant")
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, AttributeError, KeyError, Refused):
        raise Refused(f"{path} is damaged. Log in again, or delete it: stella logout.") from None


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())
