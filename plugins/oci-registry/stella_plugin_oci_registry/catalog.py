"""The repositories of a registry. The specification has no listing; most registries have one."""

import re
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import Listed, ListedPage, PageRequest
from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed
from stella_plugin_oci_registry.registry import Registry

# Source: opencontainers/distribution-spec, spec.md.
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_WORD}(?:/{_WORD})*")
_LONGEST = 255


class Catalog(BaseModel):
    """Body of `GET /_catalog`."""

    repositories: list[str] | None


async def list_repositories(registry: Registry, page: PageRequest) -> ListedPage:
    """In the order of the registry; the cursor is the last name of the page before."""
    path = f"/_catalog?n={page.limit}"
    if page.cursor is not None:
        if len(page.cursor) > _LONGEST or not _NAME.fullmatch(page.cursor):
            raise CheckFailed(ErrorCode.MISCONFIGURED, "The cursor is not one of this listing")
        path += f"&last={quote(page.cursor, safe='')}"
    response = await registry.get(path)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        response = await registry.get(path, await registry.credential_for(response))
    if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        raise CheckFailed(ErrorCode.NOT_SUPPORTED, "This registry lists no repositories")
    raise_for_status(response)
    # Docker's registry has null for none.
    names = answer_of(response, Catalog, "a registry").repositories or []
    goes_on = bool(names) and "next" in response.links
    return ListedPage(
        items=[Listed(id=name, name=name) for name in names],
        next_cursor=names[-1] if goes_on else None,
    )
