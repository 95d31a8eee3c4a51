"""The projects and repositories of a Harbor that a robot or user can see, or that are public."""

import httpx
from pydantic import BaseModel, RootModel

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import Listed, ListedPage, PageRequest
from stella_contracts.failures import raise_for_status


class Project(BaseModel):
    project_id: int
    name: str


class Projects(RootModel[list[Project]]):
    """Body of `GET /projects`."""


class Repository(BaseModel):
    id: int
    name: str
    """With its project in front of it."""


class Repositories(RootModel[list[Repository]]):
    """Body of `GET /repositories`."""


async def list_projects(
    root: str, http: httpx.AsyncClient, login: httpx.BasicAuth | None, page: PageRequest
) -> ListedPage:
    number = page.numbered_from(1)
    response = await _page(f"{root}/projects", http, login, number, page)
    found = answer_of(response, Projects, "Harbor").root
    items = [Listed(id=str(each.project_id), name=each.name) for each in found]
    return ListedPage(items=items, next_cursor=_next(response, number, page))


async def list_repositories(
    root: str, http: httpx.AsyncClient, login: httpx.BasicAuth | None, page: PageRequest
) -> ListedPage:
    number = page.numbered_from(1)
    response = await _page(f"{root}/repositories", http, login, number, page)
    found = answer_of(response, Repositories, "Harbor").root
    items = [Listed(id=str(each.id), name=each.name) for each in found]
    return ListedPage(items=items, next_cursor=_next(response, number, page))


async def _page(
    url: str,
    http: httpx.AsyncClient,
    login: httpx.BasicAuth | None,
    number: int,
    page: PageRequest,
) -> httpx.Response:
    response = await http.get(
        url,
        params={"page": number, "page_size": page.limit},
        headers={"Accept": "application/json"},
        auth=login,
    )
    raise_for_status(response)
    return response


def _next(response: httpx.Response, number: int, page: PageRequest) -> str | None:
    """By number against the total: Harbor writes the query of its links unescaped."""
    total = response.headers.get("x-total-count", "")
    if not (total.isascii() and total.isdigit()):
        return None
    return str(number + 1) if number * page.limit < int(total[:18]) else None
