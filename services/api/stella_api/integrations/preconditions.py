"""ETag, If-Match and If-None-Match (RFC 9110)."""

import re
import zlib

from stella_contracts.errors import IfMatchMissing, MalformedPrecondition
from stella_contracts.health import IntegrationStatus
from stella_contracts.integrations import Connection, Integration

_TAG = re.compile(r'\s*(W/)?"(?P<version>\d{1,9})(?P<state>-[0-9a-f]{8})?"\s*')
_LONGEST_HEADER = 1000


def etag(integration: Integration) -> str:
    """As `etag_of`, of a whole record."""
    return etag_of(integration.version, integration.status, integration.connection)


def etag_of(version: int, status: str, connection: Connection | None) -> str:
    """
    The version, and a digest of what checks have made of it once there is something.

    A check changes status and connection and not the version: with that alone, a reader who
    asks with If-None-Match would never hear of an outage.
    """
    learnt = status not in {IntegrationStatus.UNKNOWN, IntegrationStatus.DISABLED}
    if not learnt and connection is None:
        return f'"{version}"'
    told = connection and connection.model_dump_json()
    return f'"{version}-{zlib.crc32(f"{status} {told}".encode()):08x}"'


def versions_of(if_match: str | None) -> frozenset[int] | None:
    """
    The versions that a change may be applied to, or None for any.

    What checks have found since is no reason to refuse a change. A weak tag never matches, as
    the RFC has it. Raises MalformedPrecondition.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if len(if_match) > _LONGEST_HEADER:
        raise MalformedPrecondition
    tags = [_TAG.fullmatch(part) for part in if_match.split(",")]
    if not all(tags):
        raise MalformedPrecondition
    return frozenset(int(tag["version"]) for tag in tags if tag and not tag[1])


def required_versions_of(if_match: str | None) -> frozenset[int] | None:
    """As `versions_of`, for a change that might undo another. Raises IfMatchMissing, too."""
    if if_match is None:
        raise IfMatchMissing
    return versions_of(if_match)


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether the reader has just this already. Weak tags count, as the RFC has it."""
    if if_none_match is None:
        return False
    known = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return tag in known or known == ["*"]
