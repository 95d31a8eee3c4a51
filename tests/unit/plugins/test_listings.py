"""What connectors list, page by page, against providers of canned answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.support.api_description import ApiDescription
from tests.support.app_key import app_key_pem
from tests.support.checked import lending

from stella_contracts.capabilities import Listed, ListedPage, PageRequest
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Secret
from stella_contracts.testing import Provider
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_gitlab.plugin import GitLabPlugin
from stella_plugin_harbor.plugin import HarborPlugin
from stella_plugin_jenkins.plugin import JenkinsPlugin
from stella_plugin_oci_registry.plugin import OciRegistryPlugin

COUNT = 5
ORIGIN = "https://tool.test"
LOGIN = Secret({"username": "ci", "password": "hunter2"})

Answer = Callable[[httpx.Request], httpx.Response]


def github(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("access_tokens"):
        ends = "2126-01-01T00:00:00Z"
        return httpx.Response(201, json={"token": "ghs_hunter2", "expires_at": ends})
    assert request.url.path == "/api/v3/installation/repositories"
    size, number = int(request.url.params["per_page"]), int(request.url.params["page"])
    known = [
        {"id": n, "full_name": f"octo/r{n}", "html_url": f"{ORIGIN}/r{n}"} for n in range(COUNT)
    ]
    shown = known[(number - 1) * size : number * size]
    # As GitHub's own description has it, whatever host answers.
    link = {"Link": '<https://api.github.com/resource?page=2>; rel="next"'}
    body = {"total_count": COUNT, "repositories": shown}
    return httpx.Response(200, json=body, headers=link)


def gitlab(request: httpx.Request) -> httpx.Response:
    assert request.url.path == "/api/v4/projects"
    query = request.url.params
    assert (query["pagination"], query["order_by"], query["sort"]) == ("keyset", "id", "asc")
    after = int(query.get("id_after", -1))
    known = [
        {
            "id": n,
            "path_with_namespace": f"g/p{n}",
            "web_url": f"{ORIGIN}/p{n}",
            "runners_token": "hunter2",
        }
        for n in range(COUNT)
        if n > after
    ]
    return httpx.Response(200, json=known[: int(query["per_page"])])


def harbor(request: httpx.Request) -> httpx.Response:
    kind = request.url.path.removeprefix("/api/v2.0/")
    size, number = int(request.url.params["page_size"]), int(request.url.params["page"])
    known = [
        {"project_id": n, "name": f"p{n}"} if kind == "projects" else {"id": n, "name": f"p/r{n}"}
        for n in range(COUNT)
    ]
    shown = known[(number - 1) * size : number * size]
    return httpx.Response(200, json=shown, headers={"X-Total-Count": str(COUNT)})


def registry(request: httpx.Request) -> httpx.Response:
    assert request.url.path == "/v2/_catalog"
    if "Authorization" not in request.headers:
        return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    size, last = int(request.url.params["n"]), request.url.params.get("last", "")
    known = [name for name in (f"a/r{n}" for n in range(COUNT)) if name > last]
    headers = {}
    if len(known) > size:
        headers["Link"] = '</v2/_catalog?last=x&n=2>; rel="next"'
    return httpx.Response(200, json={"repositories": known[:size]}, headers=headers)


def jenkins(request: httpx.Request) -> httpx.Response:
    tree = request.url.params["tree"]
    start, end = map(int, tree.partition("{")[2].rstrip("}").split(","))
    known = [{"fullName": f"j{n}", "url": f"{ORIGIN}/job/j{n}/"} for n in range(COUNT)]
    return httpx.Response(200, json={"jobs": known[start:end]})


@dataclass(frozen=True)
class Listing:
    plugin: Any
    capability: str
    answer: Answer
    names: Sequence[str]
    secret: Secret = LOGIN
    config: Mapping[str, Any] | None = None

    async def page(self, request: PageRequest, answer: Answer | None = None) -> ListedPage:
        config = {"endpoint": ORIGIN, **(self.config or {})}
        transport = Provider(answer or self.answer)
        async with lending(self.plugin, config, self.secret, transport=transport) as lent:
            found: ListedPage = await getattr(self.plugin, self.capability)(*lent, request)
        return found


APP = {"appId": 17, "installationId": 42}
KEY = Secret({"value": app_key_pem()})
TOKEN = Secret({"value": "glpat-hunter2"})
LISTINGS = {
    "github": Listing(
        GitHubAppPlugin(),
        "list_repositories",
        github,
        [f"octo/r{n}" for n in range(COUNT)],
        KEY,
        APP,
    ),
    "gitlab": Listing(
        GitLabPlugin(), "list_projects", gitlab, [f"g/p{n}" for n in range(COUNT)], TOKEN
    ),
    "harbor's projects": Listing(
        HarborPlugin(), "list_projects", harbor, [f"p{n}" for n in range(COUNT)]
    ),
    "harbor's repositories": Listing(
        HarborPlugin(), "list_repositories", harbor, [f"p/r{n}" for n in range(COUNT)]
    ),
    "registry": Listing(
        OciRegistryPlugin(), "list_repositories", registry, [f"a/r{n}" for n in range(COUNT)]
    ),
    "jenkins": Listing(JenkinsPlugin(), "list_projects", jenkins, [f"j{n}" for n in range(COUNT)]),
}
EACH = pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)


@EACH
@pytest.mark.parametrize(("limit", "pages"), [(2, 3), (4, 2), (100, 1)])
async def test_all_is_listed_page_by_page(listing: Listing, limit: int, pages: int) -> None:
    found: list[Listed] = []
    cursor: str | None = None
    for number in range(1, pages + 1):
        page = await listing.page(PageRequest(cursor, limit))
        found += page.items
        cursor = page.next_cursor
        assert (cursor is None) == (number == pages)

    assert [each.name for each in found] == listing.names
    assert len({each.id for each in found}) == COUNT
    assert "hunter2" not in repr(found)


@EACH
@pytest.mark.parametrize("cursor", ["", "-1", "../x", "1&a=b", "https://evil.test", "9" * 300])
async def test_cursor_that_is_none_of_its_own_is_refused_unsent(
    listing: Listing, cursor: str
) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"asked {request.url}")

    with pytest.raises(CheckFailed) as refused:
        await listing.page(PageRequest(cursor), never)

    assert refused.value.code is ErrorCode.MISCONFIGURED


@EACH
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(401, json={}), ErrorCode.AUTH_REJECTED),
        (httpx.Response(403, json={}), ErrorCode.PERMISSION_MISSING),
        (httpx.Response(429), ErrorCode.RATE_LIMITED),
        (httpx.Response(502, html="x"), ErrorCode.REMOTE_ERROR),
        (httpx.Response(200, html="<title>Sign in</title>"), ErrorCode.BAD_RESPONSE),
        (httpx.Response(200, json={"repositories": 1}), ErrorCode.BAD_RESPONSE),
    ],
)
async def test_refusal_has_its_code(
    listing: Listing, answer: httpx.Response, code: ErrorCode
) -> None:
    with pytest.raises(CheckFailed) as refused:
        await listing.page(PageRequest(), lambda _: answer)

    assert refused.value.code is code


async def test_registry_that_lists_nothing_is_not_broken() -> None:
    with pytest.raises(CheckFailed) as refused:
        await LISTINGS["registry"].page(PageRequest(), lambda _: httpx.Response(404, json={}))

    assert refused.value.code is ErrorCode.NOT_SUPPORTED


@pytest.mark.parametrize("url", ["javascript:alert(1)", "x" * 3000, "", None])
def test_address_that_is_none_of_the_web_is_left_out(url: str | None) -> None:
    assert Listed(id="1", name="x", url=url).url is None


@pytest.mark.parametrize(
    ("listing", "file"),
    [
        ("github", "github-ghes-3.19.trimmed.json"),
        ("gitlab", "gitlab-v4.assembled.oas3.json"),
        ("harbor's projects", "harbor-v2.16.trimmed.oas3.json"),
        ("harbor's repositories", "harbor-v2.16.trimmed.oas3.json"),
    ],
)
async def test_every_request_is_one_that_the_vendor_describes(listing: str, file: str) -> None:
    description = ApiDescription(file, ORIGIN)
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return LISTINGS[listing].answer(request)

    first = await LISTINGS[listing].page(PageRequest(limit=2), answer)
    await LISTINGS[listing].page(PageRequest(first.next_cursor, limit=2), answer)

    assert asked
    for request in asked:
        description.check_request(request)
