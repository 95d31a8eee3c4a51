"""Lends each check an httpx client that costs next to nothing to make."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import httpx

from stella_contracts.manifest import CA_BUNDLE, Manifest
from stella_contracts.plugin import Steps
from stella_runtime.egress.dialler import Dialler, Lookup, ask_system
from stella_runtime.egress.origins import origins_of, parsed_origin, url_of
from stella_runtime.egress.own_endpoints import find_own
from stella_runtime.egress.policy import Network, Policies
from stella_runtime.egress.pool import Pool
from stella_runtime.egress.proxy import Proxy
from stella_runtime.egress.transport import GuardedTransport, Rules
from stella_runtime.egress.trust import Trust

_MERGED = ("params", "cookies")
_BODY = ("content", "data", "files", "json")


class Egress:
    """The connections of one process, and the clients that use them."""

    def __init__(self, pool: Pool, policies: Policies, *, send_traceparent: bool = False) -> None:
        self._pool = pool
        self._policies = policies
        self._send_traceparent = send_traceparent
        self._template = httpx.AsyncClient(
            transport=httpx.AsyncBaseTransport(),
            headers={
                "User-Agent": f"stella-integrations/{version('stella-integrations')}",
                "Accept-Encoding": "gzip",
            },
            # The deadline of the check is the limit.
            timeout=httpx.Timeout(None),
            trust_env=False,
        )

    def client(
        self, manifest: Manifest, settings: Mapping[str, Any], steps: Steps, *, tenant_id: str
    ) -> httpx.AsyncClient:
        """
        A client for one check of the integration with these settings.

        It calls the origins that settings and manifest name and no other, as far as the policy
        for the tenant lets it, trusts `caBundle` of the settings besides, follows no redirect,
        keeps no cookie, and reads no more than 1 MiB. New connections are added to the steps.
        It need not be closed.
        """
        bundle = settings.get(CA_BUNDLE)
        rules = Rules(
            origins_of(manifest, settings),
            self._policies.of(tenant_id),
            bundle if isinstance(bundle, str) else None,
        )
        transport = GuardedTransport(
            self._pool, rules, steps, send_traceparent=self._send_traceparent
        )
        return _ClientOfACheck(self._template, transport)

    def client_of(self, url: str, *, tenant_id: str | None = None) -> httpx.AsyncClient:
        """
        A client as that of a check, for the origin of one URL; for none if it is no URL.

        Without a tenant it is the hub's own.
        """
        origin = parsed_origin(url)
        origins = frozenset() if origin is None else frozenset({origin})
        rules = Rules(origins, self._policies.of(tenant_id))
        return _ClientOfACheck(self._template, GuardedTransport(self._pool, rules, Steps()))


@asynccontextmanager
async def open_egress(
    allow: Iterable[Network] = (),
    *,
    allow_by_tenant: Mapping[str, Iterable[Network]] | None = None,
    own: Iterable[tuple[str, int]] = (),
    proxy: Proxy | None = None,
    authorities: str | None = None,
    lookup: Lookup = ask_system,
    send_traceparent: bool = False,
) -> AsyncIterator[Egress]:
    """
    Open the way out.

    `allow` are the private and loopback networks that may be reached, by every tenant or by
    one; `own` the hosts and ports of this hub, which never may. `authorities` are the
    certificates (PEM) to trust in place of the system's. `send_traceparent` tells the tools the
    trace in which they are asked.
    """
    dialler = Dialler(Trust(authorities), lookup, own=await find_own(own, lookup), proxy=proxy)
    pool = Pool(dialler)
    try:
        yield Egress(
            pool, Policies(allow, allow_by_tenant or {}), send_traceparent=send_traceparent
        )
    finally:
        pool.close()
        dialler.close()


def _sets_timeout(more: Mapping[str, Any]) -> bool:
    return more.get("timeout", httpx.USE_CLIENT_DEFAULT) is not httpx.USE_CLIENT_DEFAULT


class _NoCookies(httpx.Cookies):
    """Keeps nothing: a session of one check must not help the next."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass

    def set_cookie_header(self, request: httpx.Request) -> None:
        pass


class _ClientOfACheck(httpx.AsyncClient):
    """
    A copy of a client with a transport and headers of its own.

    Making a client takes httpx longer than a request takes, so it is not made anew:
    the state of the template is taken over, and what a plugin may change is copied.
    """

    def __init__(self, template: httpx.AsyncClient, transport: GuardedTransport) -> None:
        # Not super().__init__(), see above. Rests on the attributes of httpx 0.28.
        self.__dict__.update(vars(template))
        self._transport = self._guarded = transport
        self._headers = httpx.Headers(template.headers)
        self._event_hooks: dict[str, list[Any]] = {"request": [], "response": []}
        self._cookies = _NoCookies()

    def build_request(self, method: str, url: httpx.URL | str, **more: Any) -> httpx.Request:
        """As httpx does it, at a third of the cost when all that is merged are headers."""
        url = url_of(url) if isinstance(url, str) else url
        wants_more = any(more.get(name) is not None for name in _MERGED) or url.is_relative_url
        if wants_more or self._params or self._cookies or _sets_timeout(more):
            return super().build_request(method, url, **more)
        headers = httpx.Headers(self._headers)
        if more.get("headers"):
            headers.update(more["headers"])
        body = {name: more.get(name) for name in _BODY}
        return httpx.Request(
            method, url, headers=headers, extensions=more.get("extensions"), **body
        )

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """
        As httpx does it, without the layers that a check has no use for.

        Those of redirects, cookies, hooks, authentication in rounds and streams take it longer
        than the request. Who wants one of them gets all of httpx.
        """
        is_plain = auth is httpx.USE_CLIENT_DEFAULT or auth is None or type(auth) is httpx.BasicAuth
        wants_more = stream or follow_redirects is True or self.is_closed
        if not is_plain or wants_more or self.auth or any(self._event_hooks.values()):
            return await super().send(
                request, stream=stream, auth=auth, follow_redirects=follow_redirects
            )
        if isinstance(auth, httpx.BasicAuth):
            next(auth.auth_flow(request))
        started = time.perf_counter()
        try:
            response = await self._guarded.answer(request)
        except httpx.RequestError as error:
            error.request = request
            raise
        response.elapsed = timedelta(seconds=time.perf_counter() - started)
        response.default_encoding = self._default_encoding
        if response.has_redirect_location:
            response.next_request = self._build_redirect_request(request, response)
        return response
