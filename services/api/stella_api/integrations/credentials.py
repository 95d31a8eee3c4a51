"""Finds what looks like a credential where only references may be."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from stella_api.problems import pointer
from stella_contracts.auth_ref import SCHEME
from stella_contracts.errors import Problem

PIECE = 8192
OVERLAP = 2048
"""Longer than what any pattern needs to see."""

HINT = "This looks like a credential. Store it in a vault and refer to it by authRefUri."

# The detectors themselves and not a scan, which passes over what a comment in the text excuses.
# Patterns alone: the entropy detectors take digests and ids for secrets, Artifactory's takes
# names such as APEXregistry, and those of JWTs, URLs and npm take quadratic time (ours are below).
_DETECTORS = (
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    DiscordBotTokenDetector(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    MailchimpDetector(),
    OpenAIDetector(),
    PrivateKeyDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    SquareOAuthDetector(),
    StripeDetector(),
    TelegramBotTokenDetector(),
    TwilioKeyDetector(),
)
_PROMISES = (
    r"password|passwd|passphrase|secret|token|api[_-]?key|credential|private[_-]?key"
    r"|access[_-]?key|authorization|cookie"
)
_PROMISING_NAME = re.compile(rf"{_PROMISES}|(?:^|[_-])(?:pass|pwd)(?:$|[_-])", re.IGNORECASE)
_OTHER_FORMS = re.compile(
    r"\beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10}"  # JWT
    r"|github_pat_[A-Za-z0-9_]{22}"
    r"|\bhv[sbr]\.[A-Za-z0-9_-]{20}"  # HashiCorp Vault and OpenBao
    r"|\bAIza[A-Za-z0-9_-]{35}"  # Google
    r"|\bnpm_[A-Za-z0-9]{36}|:_authToken="
    r"|\b(?:Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{16}"
    rf"|[?&][A-Za-z0-9_.-]{{0,40}}(?:{_PROMISES})[A-Za-z0-9_.-]{{0,40}}=[^&\s]"
    r"|://[^\s/?#@]{1,512}@",
    re.IGNORECASE,
)
_CERTIFICATES = re.compile(
    r"(?:\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----)+\s*"
)
"""Public, however much they look like keys."""
_PLAIN_URL = re.compile(r"https?://[^\s?#@]+")


def find_credentials(fields: Mapping[str, Any]) -> list[Problem]:
    """Where the fields of a body hold something that looks like a credential."""
    return [
        Problem(pointer(path), HINT)
        for path, is_secret, text in _texts(fields)
        if is_credential(text, is_secret=is_secret)
    ]


def is_credential(text: str, *, is_secret: bool = False) -> bool:
    """Whether a text looks like one; `is_secret`: it stands under a name that promises one."""
    if not text or text.startswith(SCHEME) or _CERTIFICATES.fullmatch(text):
        return False
    if is_secret:
        # Where a token is to be had is no token.
        return not _PLAIN_URL.fullmatch(text)
    return any(_is_found(piece) for piece in _pieces(text))


def _is_found(text: str) -> bool:
    if _OTHER_FORMS.search(text):
        return True
    return any(next(iter(each.analyze_string(text)), None) for each in _DETECTORS)


def _pieces(text: str) -> Iterator[str]:
    """Overlapping parts: no pattern may take a time that grows with the square of a text."""
    yield text[:PIECE]
    for start in range(PIECE - OVERLAP, len(text) - OVERLAP, PIECE - OVERLAP):
        yield text[start : start + PIECE]


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], bool, str]]:
    """Every text below, names included: its path, and whether a name above promises a secret."""
    waiting: list[tuple[Any, tuple[str | int, ...], bool]] = [(fields, (), False)]
    while waiting:
        value, path, is_secret = waiting.pop()
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield path, False, name
                waiting.append(
                    (inner, (*path, name), is_secret or bool(_PROMISING_NAME.search(name)))
                )
        elif isinstance(value, list):
            waiting += [(inner, (*path, index), is_secret) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            yield path, is_secret, value
