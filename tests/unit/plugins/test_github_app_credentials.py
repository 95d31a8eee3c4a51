"""The keys of Apps and the tokens of their installations."""

from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.app_key import app_key, app_key_pem
from tests.support.scripted_github import HEALTHY, REJECTED, TOKENS, Hub

from stella_contracts.plugin import Secret
from stella_plugin_github_app.tokens import LIMIT, InstallationTokens


def _pem(key: Any, form: serialization.PrivateFormat, passphrase: bytes | None = None) -> str:
    how = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, how)
    return pem.decode()


async def test_token_is_used_until_shortly_before_it_ends() -> None:
    hub = Hub()
    minted = []

    for minutes in (0, 54, 2, 54):
        hub.pass_time(minutes=minutes)
        assert (await hub.check()).finding == HEALTHY
        minted.append(len(hub.github.minted))

    assert minted == [1, 1, 2, 2]


async def test_token_is_good_for_who_asks_for_the_same_with_the_same_key_alone() -> None:
    hub = Hub()
    asked: list[dict[str, Any]] = [
        {},
        {"repositories": ["hello"]},
        {"permissions": {"contents": "read"}},
        {"endpoint": "https://ghe.test/api/v3/"},
    ]

    for config in asked:
        assert (await hub.check(**config)).finding == HEALTHY

    assert hub.github.minted == [
        b"",
        b'{"repositories":["hello"]}',
        b'{"permissions":{"contents":"read"}}',
    ]


async def test_token_of_one_key_is_not_lent_to_another() -> None:
    hub = Hub()
    await hub.check()

    # To who compares keys by their text, it is another one.
    await hub.check(Secret({"value": _pem(app_key(), serialization.PrivateFormat.PKCS8)}))

    assert len(hub.github.minted) == 2


async def test_revoked_token_is_replaced_without_a_word() -> None:
    hub = Hub()
    await hub.check()
    hub.github.refuses = {"ghs_17_1"}

    found = await hub.check()

    assert found.finding == HEALTHY
    assert (len(hub.github.minted), hub.slept) == (2, [])


async def test_new_token_is_given_time_to_become_known_and_then_up() -> None:
    hub = Hub()
    hub.github.refuses = {"ghs_17_1"}

    found = await hub.check()
    hub.github.refuses = set()
    await hub.check()

    assert found.finding == REJECTED
    assert hub.slept == [1.0, 2.0]
    assert len(hub.github.minted) == 2, "a token that was refused is not kept"


async def test_token_of_the_past_is_used_once_and_not_kept() -> None:
    """The vendor's own example ends in 2016."""
    hub = Hub()
    stale = {"token": "ghs_17_0", "expires_at": "2016-07-11T22:14:10Z"}
    hub.github.answers = {"token": httpx.Response(201, json=stale)}

    assert (await hub.check()).finding == HEALTHY
    assert (await hub.check()).finding == HEALTHY
    assert hub.github.paths.count(TOKENS) == 2


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"anything": app_key_pem()}, id="one value"),
        pytest.param({"private_key": app_key_pem(), "app_id": "17"}, id="a field"),
        pytest.param({"value": _pem(app_key(), serialization.PrivateFormat.PKCS8)}, id="PKCS #8"),
        pytest.param({"value": app_key_pem().replace("\n", "\\n")}, id="on one line"),
    ],
)
async def test_key_is_read_in_every_form_that_it_comes_in(fields: dict[str, str]) -> None:
    assert (await Hub().check(Secret(fields))).finding == HEALTHY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("hunter2", id="a password"),
        pytest.param("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END", id="half a key"),
        pytest.param(
            _pem(ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8),
            id="no RSA key",
        ),
        pytest.param(
            _pem(app_key(), serialization.PrivateFormat.PKCS8, b"hunter2"), id="with a passphrase"
        ),
        pytest.param(
            app_key()
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
            id="the public key",
        ),
    ],
)
async def test_what_is_no_key_of_an_app_is_said_before_anything_is_asked(text: str) -> None:
    hub = Hub()

    found = await hub.check(Secret({"value": text}))

    assert found.finding == ("unhealthy", "secret_unresolvable")
    assert hub.github.paths == []
    assert "hunter2" not in found.told


def test_tokens_are_bounded_and_shown_to_nobody() -> None:
    tokens = InstallationTokens(clock=lambda: 0.0)

    for number in range(LIMIT + 1):
        tokens.keep(number, "ghs_17_1", lives_seconds=3600)

    assert tokens.find(0) is None
    found = tokens.find(LIMIT)
    assert found is not None
    assert found.text == "ghs_17_1"
    assert repr(tokens) == f"InstallationTokens(kept={LIMIT})"
    assert "ghs_" not in repr(found)


def test_token_of_a_clock_gone_wild_is_kept_for_an_hour_at_most() -> None:
    elapsed = 0.0
    tokens = InstallationTokens(clock=lambda: elapsed)
    tokens.keep("x", "ghs_17_1", lives_seconds=1e9)

    elapsed = 3299.0
    assert tokens.find("x") is not None
    elapsed = 3301.0
    assert tokens.find("x") is None
