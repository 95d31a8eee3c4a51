"""The registry connector against canned answers."""

import base64
import json
from collections.abc import Mapping

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.checked import Checked, checked
from tests.support.vendor_specs import vendor_spec

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_oci_registry.challenges import Challenge, challenges_of
from stella_plugin_oci_registry.plugin import OciRegistryPlugin
from stella_plugin_oci_registry.settings import api_root_of

ROOT = "https://registry.test/v2"
REALM = "https://auth.test/token"
NAME, PASSWORD = "robot", "hunter2"
LOGIN = Secret({"username": NAME, "password": PASSWORD})
BASIC = "Basic " + base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
OF_REGISTRY = {"Docker-Distribution-Api-Version": "registry/2.0"}
GREETING = httpx.Response(200, json={}, headers=OF_REGISTRY)
SILENT_GREETING = httpx.Response(200)
TOKEN = httpx.Response(200, json={"token": "t0"})


def refusal(status: int, code: str, challenge: str | None = None) -> httpx.Response:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    return httpx.Response(status, json={"errors": [{"code": code}]}, headers=headers)


def demanding(challenge: str) -> httpx.Response:
    return refusal(401, "UNAUTHORIZED", challenge)


BEARER = f'Bearer realm="{REALM}",service="registry.test"'


class Registry:
    """Greets who sends one of the given headers, and answers all else with what the test says."""

    def __init__(
        self,
        *accepted: str | None,
        refused: httpx.Response | None = None,
        greeting: httpx.Response = GREETING,
        token: httpx.Response = TOKEN,
        unknown: httpx.Response | None = None,
    ) -> None:
        self._accepted = accepted
        self._refused = refused or demanding('Basic realm="x"')
        self._greeting = greeting
        self._token = token
        self._unknown = unknown or refusal(404, "NAME_UNKNOWN")
        self.provider = Provider(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        if not str(request.url).startswith(ROOT):
            assert str(request.url).startswith(REALM)
            return self._token
        if request.headers.get("Authorization") not in self._accepted:
            return self._refused
        return self._greeting if request.url.path == "/v2/" else self._unknown

    async def check(
        self, secret: Secret | None = None, token_endpoint: str | None = "https://auth.test"
    ) -> Checked:
        config = {"endpoint": "https://registry.test"}
        if token_endpoint:
            config["tokenEndpoint"] = token_endpoint
        return await checked(OciRegistryPlugin(), config, secret, transport=self.provider)

    @property
    def logins(self) -> Mapping[str, list[str | None]]:
        found: dict[str, list[str | None]] = {}
        for request in self.provider.requests:
            sent = request.headers.get("Authorization")
            found.setdefault(request.url.host, []).append(sent)
        return found


@pytest.mark.parametrize(
    ("registry", "secret", "finding"),
    [
        pytest.param(Registry(None), None, ("healthy", None), id="open"),
        pytest.param(Registry(None, BASIC), LOGIN, ("healthy", None), id="open, with a login"),
        pytest.param(
            Registry(None), LOGIN, ("unhealthy", "auth_rejected"), id="open, with a wrong login"
        ),
        pytest.param(Registry(BASIC), LOGIN, ("healthy", None), id="basic"),
        pytest.param(Registry(BASIC), None, ("unhealthy", "auth_rejected"), id="basic, no login"),
        pytest.param(Registry("x"), LOGIN, ("unhealthy", "auth_rejected"), id="basic, wrong"),
        pytest.param(
            Registry("Bearer t0", refused=demanding(BEARER)), LOGIN, ("healthy", None), id="token"
        ),
        pytest.param(
            Registry("Bearer t0", refused=demanding(f'Basic realm="x", {BEARER}')),
            LOGIN,
            ("healthy", None),
            id="token or basic",
        ),
        pytest.param(
            Registry("Bearer t0", refused=demanding(BEARER)),
            None,
            ("healthy", None),
            id="anonymous token",
        ),
        pytest.param(
            Registry(
                "Bearer t1",
                refused=demanding(BEARER),
                token=httpx.Response(200, json={"access_token": "t1"}),
            ),
            LOGIN,
            ("healthy", None),
            id="token by its other name",
        ),
        pytest.param(
            Registry("x", refused=demanding(BEARER), token=httpx.Response(401, json={})),
            LOGIN,
            ("unhealthy", "auth_rejected"),
            id="no token for this login",
        ),
        pytest.param(
            Registry("x", refused=demanding(BEARER), token=httpx.Response(403, json={})),
            LOGIN,
            ("unhealthy", "permission_missing"),
            id="token forbidden",
        ),
        pytest.param(
            Registry("x", refused=demanding(BEARER), token=httpx.Response(200, json={})),
            LOGIN,
            ("unhealthy", "bad_response"),
            id="answer without a token",
        ),
        pytest.param(
            Registry(
                "x", refused=demanding(BEARER), token=httpx.Response(200, json={"token": "a\nb"})
            ),
            LOGIN,
            ("unhealthy", "bad_response"),
            id="token that is no header",
        ),
        pytest.param(
            Registry("x", refused=demanding(BEARER), token=httpx.Response(429)),
            LOGIN,
            ("degraded", "rate_limited"),
            id="token service limits",
        ),
        pytest.param(
            Registry("x", refused=demanding(BEARER), token=httpx.Response(503)),
            LOGIN,
            ("unhealthy", "remote_error"),
            id="token service down",
        ),
        pytest.param(
            Registry("x", refused=demanding(f'{BEARER},error="insufficient_scope"')),
            LOGIN,
            ("unhealthy", "permission_missing"),
            id="token that may not",
        ),
        pytest.param(
            Registry("x", refused=demanding("Bearer")),
            LOGIN,
            ("unhealthy", "bad_response"),
            id="no realm",
        ),
        pytest.param(
            Registry("x", refused=demanding('Bearer realm="nonsense"')),
            LOGIN,
            ("unhealthy", "bad_response"),
            id="realm that is no URL",
        ),
        pytest.param(
            Registry("x", refused=refusal(401, "UNAUTHORIZED")),
            LOGIN,
            ("unhealthy", "auth_rejected"),
            id="refused without a word",
        ),
        pytest.param(
            Registry("x", refused=httpx.Response(429, headers={"Retry-After": "9"})),
            None,
            ("degraded", "rate_limited"),
            id="limits",
        ),
        pytest.param(
            Registry("x", refused=httpx.Response(404)), None, ("unhealthy", "not_found"), id="none"
        ),
        pytest.param(
            Registry("x", refused=httpx.Response(503)),
            None,
            ("unhealthy", "remote_error"),
            id="down",
        ),
        pytest.param(
            Registry(None, greeting=SILENT_GREETING), None, ("healthy", None), id="of few words"
        ),
        pytest.param(
            Registry(None, greeting=SILENT_GREETING, unknown=refusal(401, "UNAUTHORIZED")),
            None,
            ("healthy", None),
            id="of few words, and closed",
        ),
        pytest.param(
            Registry(None, greeting=SILENT_GREETING, unknown=httpx.Response(404, html="no")),
            None,
            ("unhealthy", "bad_response"),
            id="some other server",
        ),
        pytest.param(
            Registry(
                None,
                greeting=httpx.Response(200, html="<title>Sign in</title>"),
                unknown=httpx.Response(200, html="<title>Sign in</title>"),
            ),
            None,
            ("unhealthy", "bad_response"),
            id="a login page",
        ),
        pytest.param(
            Registry(None, greeting=SILENT_GREETING, unknown=httpx.Response(502)),
            None,
            ("unhealthy", "remote_error"),
            id="down after its greeting",
        ),
    ],
)
async def test_registry_is_found_to_be(
    registry: Registry, secret: Secret | None, finding: tuple[str, str | None]
) -> None:
    found = await registry.check(secret)

    assert found.finding == finding
    assert PASSWORD not in found.told
    assert BASIC.removeprefix("Basic ") not in found.told


async def test_login_goes_to_the_token_service_and_the_token_to_the_registry() -> None:
    registry = Registry("Bearer t0", refused=demanding(f'{BEARER},scope="registry:catalog:*"'))

    await registry.check(LOGIN)

    assert registry.logins == {"registry.test": [None, "Bearer t0"], "auth.test": [BASIC]}
    [asked] = [each.url for each in registry.provider.requests if each.url.host == "auth.test"]
    assert dict(asked.params) == {"service": "registry.test", "scope": "registry:catalog:*"}


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.test/token",
        "http://auth.test/token",
        "https://auth.test:8443/token",
        "https://auth.test.evil.test/token",
        "http://registry.test/token",
        "https://registry.test:444/token",
    ],
)
async def test_realm_elsewhere_gets_nothing(realm: str) -> None:
    registry = Registry("Bearer t0", refused=demanding(f'Bearer realm="{realm}"'))

    found = await registry.check(LOGIN)

    assert found.finding == ("unhealthy", "misconfigured")
    assert "evil" not in found.told
    assert registry.logins == {"registry.test": [None]}


async def test_realm_with_credentials_in_it_is_no_realm() -> None:
    registry = Registry("x", refused=demanding('Bearer realm="https://a:b@auth.test/"'))

    assert (await registry.check(LOGIN)).finding == ("unhealthy", "bad_response")


async def test_secret_that_is_no_login_is_said_before_anything_is_asked() -> None:
    registry = Registry(None)

    found = await registry.check(Secret({"value": "hunter2"}))

    assert found.finding == ("unhealthy", "secret_unresolvable")
    assert registry.provider.requests == []


async def test_challenge_of_the_vendors_is_understood() -> None:
    written = json.loads(vendor_spec("oci-distribution.extract.json").read_bytes())
    [example] = written["token_auth_examples"]

    [challenge] = challenges_of(demanding(example["www_authenticate"]))

    url = httpx.URL(challenge.parameters["realm"]).copy_merge_params(
        {name: challenge.parameters[name] for name in ("service", "scope")}
    )
    assert challenge.scheme == "bearer"
    assert url.params == httpx.URL(example["token_url"]).params


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("Basic", [Challenge("basic")], id="no parameters"),
        pytest.param(
            'BASIC Realm="a b, c=\\"d\\""',
            [Challenge("basic", {"realm": 'a b, c="d"'})],
            id="quotes",
        ),
        pytest.param(
            "Basic realm=x,  Bearer realm=y , service=z",
            [
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y", "service": "z"}),
            ],
            id="two of them",
        ),
        pytest.param('Bearer realm="x', [Challenge("bearer")], id="unclosed"),
        pytest.param('realm="x"', [], id="parameters of nothing"),
    ],
)
def test_challenges_are_read(header: str, challenges: list[Challenge]) -> None:
    assert challenges_of(httpx.Response(401, headers={"WWW-Authenticate": header})) == challenges


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=200))
def test_any_challenge_can_be_read(header: str) -> None:
    for challenge in challenges_of(httpx.Response(401, headers={"WWW-Authenticate": header})):
        assert challenge.scheme == challenge.scheme.lower()


ACCEPTED = [
    ("https://registry.test", "https://registry.test/v2"),
    ("https://registry.test/", "https://registry.test/v2"),
    ("https://registry.test/v2", "https://registry.test/v2"),
    ("https://registry.test/v2/", "https://registry.test/v2"),
    ("HTTPS://Registry.Test:443/", "https://registry.test/v2"),
    ("http://localhost:5000", "http://localhost:5000/v2"),
    ("https://[::1]:5000/", "https://[::1]:5000/v2"),
    ("https://gitlab.test:5050/proxy", "https://gitlab.test:5050/proxy/v2"),
    ("https://harbor.test/v2x", "https://harbor.test/v2x/v2"),
    ("https://docker.io", "https://registry-1.docker.io/v2"),
    ("https://index.docker.io/v1/", "https://registry-1.docker.io/v2"),
    ("https://hub.docker.com/", "https://registry-1.docker.io/v2"),
    ("https://registry-1.docker.io", "https://registry-1.docker.io/v2"),
    ("https://mydocker.io", "https://mydocker.io/v2"),
    ("https://ghcr.io", "https://ghcr.io/v2"),
    ("https://quay.io/", "https://quay.io/v2"),
]


@pytest.mark.parametrize(("endpoint", "root"), ACCEPTED, ids=[each[0] for each in ACCEPTED])
async def test_endpoint_becomes_one_api_root(endpoint: str, root: str) -> None:
    result = await OciRegistryPlugin().validate_config({"endpoint": endpoint})

    assert result.connection is not None
    assert result.connection.api_root == root
    assert api_root_of(root) == root


async def test_token_service_without_tls_for_a_registry_with_it_is_refused() -> None:
    config = {"endpoint": "https://registry.test", "tokenEndpoint": "http://auth.test"}

    [problem] = (await OciRegistryPlugin().validate_config(config)).problems

    assert "tokenEndpoint must start with https://" in problem.detail


async def test_docker_hub_has_a_token_service_of_its_own() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.host == "auth.docker.io":
            return TOKEN
        if request.headers.get("Authorization") == "Bearer t0":
            return GREETING
        return demanding('Bearer realm="https://auth.docker.io/token",service="registry.docker.io"')

    found = await checked(
        OciRegistryPlugin(), {"endpoint": "https://docker.io"}, transport=Provider(answer)
    )

    assert found.finding == ("healthy", None)
    assert asked[1] == "https://auth.docker.io/token?service=registry.docker.io"
