"""The integrations API, typed with stella_contracts. The only module that knows its URLs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import BaseModel, TypeAdapter

from stella_cli.failures import ServerFailed
from stella_cli.replies import Reply, raise_for_failure, read
from stella_contracts.audit import AuditPage, AuditVerification
from stella_contracts.bulk import ImportResult
from stella_contracts.failures import failure_of
from stella_contracts.health import (
    Check,
    CheckAccepted,
    FinishedCheck,
    FinishedDraft,
    Health,
    IntegrationStatus,
    TransitionPage,
)
from stella_contracts.integrations import (
    Integration,
    IntegrationCreate,
    IntegrationDraft,
    IntegrationPage,
    IntegrationUpdate,
)
from stella_contracts.mutes import Mute, MuteCreate, MutePage
from stella_contracts.plugins import Plugin, PluginList, ScanAccepted, ScanSummary
from stella_contracts.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryState,
    ReplayAnswer,
    ReplayRequest,
    Webhook,
    WebhookCreate,
    WebhookPage,
    WebhookUpdate,
)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 30
"""How long the server can be asked to hold an answer back (RFC 7240 `wait`)."""
SILENT_SECONDS = 60.0
"""Longer than the pause between two heartbeats of a stream, by default 15 s."""

_PREFIX = "/api/v1"
_VALUE = TypeVar("_VALUE")

_INTEGRATION = TypeAdapter(Integration)
_INTEGRATIONS = TypeAdapter(IntegrationPage)
_HEALTH = TypeAdapter(Health)
_TRANSITIONS = TypeAdapter(TransitionPage)
_CHECK: TypeAdapter[Check] = TypeAdapter(Check)
_CHECK_ASKED: TypeAdapter[FinishedCheck | CheckAccepted] = TypeAdapter(
    FinishedCheck | CheckAccepted
)
_IMPORTED = TypeAdapter(ImportResult)
_DRAFT_CHECK = TypeAdapter(FinishedDraft)
_PLUGIN = TypeAdapter(Plugin)
_PLUGINS = TypeAdapter(PluginList)
_SCAN_ASKED: TypeAdapter[ScanSummary | ScanAccepted] = TypeAdapter(ScanSummary | ScanAccepted)
_AUDIT = TypeAdapter(AuditPage)
_VERIFICATION = TypeAdapter(AuditVerification)
_MUTE = TypeAdapter(Mute)
_MUTES = TypeAdapter(MutePage)
_WEBHOOK = TypeAdapter(Webhook)
_WEBHOOKS = TypeAdapter(WebhookPage)
_DELIVERY = TypeAdapter(Delivery)
_DELIVERIES = TypeAdapter(DeliveryPage)
_REPLAYED = TypeAdapter(ReplayAnswer)
_TOKEN: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class Client:
    """
    Calls the API of one server with one token.

    Every call raises Refused for a 4xx (NotThere for 404), and ServerFailed when there is no
    usable answer. Calls end within 15 s, besides what they ask the server to wait. Only
    reading is tried again, once, when no connection was made.
    """

    def __init__(
        self, url: str, token: str | None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url,
            headers={"User-Agent": f"stella-cli/{version('stella-cli')}"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def try_token(self) -> None:
        """Raise Refused when the token is not accepted. One without the scope to read is."""
        query = {"limit": "1"}
        with _failures_named(self._url):
            answer = self._http.get(f"{_PREFIX}/integrations", params=query)
        if answer.status_code != httpx.codes.FORBIDDEN:
            read(answer, _INTEGRATIONS)

    def list_integrations(
        self,
        *,
        provider_type: str | None = None,
        status: IntegrationStatus | None = None,
        tag: str | None = None,
        q: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Reply[IntegrationPage]:
        query = {"type": provider_type, "status": status, "tag": tag, "q": q, "sort": sort}
        return self._get("/integrations", _INTEGRATIONS, query | {"limit": limit, "cursor": cursor})

    def get_integration(self, integration_id: UUID) -> Reply[Integration]:
        return self._get(f"/integrations/{integration_id}", _INTEGRATION)

    def create_integration(
        self, new: IntegrationCreate, *, idempotency_key: str | None = None
    ) -> Reply[Integration]:
        """With a key, the same call can be made again and registers nothing twice."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self._send("POST", "/integrations", body=new, headers=headers)
        return read(answer, _INTEGRATION)

    def update_integration(
        self, integration_id: UUID, change: IntegrationUpdate, *, version: str
    ) -> Reply[Integration]:
        """Only the fields that are set are sent. `version` is a number, or * for any."""
        answer = self._send(
            "PUT", f"/integrations/{integration_id}", body=change, headers=_if_match(version)
        )
        return read(answer, _INTEGRATION)

    def delete_integration(self, integration_id: UUID, *, version: str | None = None) -> None:
        headers = _if_match(version) if version else {}
        raise_for_failure(self._send("DELETE", f"/integrations/{integration_id}", headers=headers))

    def check_integration(
        self, integration_id: UUID, *, wait: int
    ) -> Reply[FinishedCheck | CheckAccepted]:
        """Ask for a check now. CheckAccepted: it did not finish within `wait` seconds."""
        answer = self._ask_to_wait(f"/integrations/{integration_id}/health-check", wait)
        return read(answer, _CHECK_ASKED)

    @contextmanager
    def export_integrations(
        self, *, provider_type: str | None, tag: str | None
    ) -> Iterator[Iterator[str]]:
        """The lines of the export. Raises ServerFailed when it breaks off."""
        given = {"type": provider_type, "tag": tag}
        query = {name: value for name, value in given.items() if value is not None}
        with self._lines("/integrations/export", query, {}) as lines:
            yield lines

    def import_integrations(self, lines: bytes, *, dry_run: bool) -> Reply[ImportResult]:
        with _failures_named(self._url):
            answer = self._http.post(
                f"{_PREFIX}/integrations/import",
                params={"dryRun": str(dry_run).lower()},
                content=lines,
                headers={"Content-Type": "application/x-ndjson"},
                timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            )
        return read(answer, _IMPORTED)

    def test_draft(self, draft: IntegrationDraft, *, wait: int) -> Reply[FinishedDraft]:
        """Check what is not registered. Raises ServerFailed if nothing has in `wait` seconds."""
        return read(self._ask_to_wait("/integrations/test", wait, body=draft), _DRAFT_CHECK)

    def get_check(self, integration_id: UUID, check_id: UUID) -> Reply[Check]:
        return self._get(f"/integrations/{integration_id}/health-checks/{check_id}", _CHECK)

    def get_health(
        self,
        integration_id: UUID,
        *,
        resolution: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Reply[Health]:
        query = {
            "resolution": resolution,
            "from": since.isoformat() if since else None,
            "to": until.isoformat() if until else None,
            "limit": limit,
        }
        return self._get(f"/integrations/{integration_id}/health", _HEALTH, query)

    def list_transitions(
        self, integration_id: UUID, *, limit: int | None, cursor: str | None
    ) -> Reply[TransitionPage]:
        path = f"/integrations/{integration_id}/transitions"
        return self._get(path, _TRANSITIONS, {"limit": limit, "cursor": cursor})

    def list_plugins(self) -> Reply[PluginList]:
        return self._get("/plugins", _PLUGINS)

    def get_plugin(self, provider_type: str) -> Reply[Plugin]:
        return self._get(f"/plugins/{quote(provider_type, safe='')}", _PLUGIN)

    def discover_plugins(self, *, wait: int) -> Reply[ScanSummary | ScanAccepted]:
        """Ask for a scan. ScanAccepted: it did not finish within `wait` seconds."""
        return read(self._ask_to_wait("/plugins/discover", wait), _SCAN_ASKED)

    def list_audit_entries(
        self,
        *,
        integration_id: UUID | None = None,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Reply[AuditPage]:
        query = {
            "integrationId": integration_id,
            "actor": actor,
            "action": action,
            "from": since.isoformat() if since else None,
            "to": until.isoformat() if until else None,
        }
        return self._get("/audit-logs", _AUDIT, query | {"limit": limit, "cursor": cursor})

    def verify_audit_log(self) -> Reply[AuditVerification]:
        return self._get("/audit-logs/verify", _VERIFICATION)

    @contextmanager
    def export_audit_entries(
        self, *, since: datetime | None, until: datetime | None
    ) -> Iterator[Iterator[str]]:
        """The lines of the export. Raises ServerFailed when it breaks off."""
        moments = {"from": since, "to": until}
        query = {name: each.isoformat() for name, each in moments.items() if each is not None}
        with self._lines("/audit-logs/export", query, {}) as lines:
            yield lines

    def list_mutes(self, *, limit: int | None, cursor: str | None) -> Reply[MutePage]:
        return self._get("/mutes", _MUTES, {"limit": limit, "cursor": cursor})

    def create_mute(self, new: MuteCreate) -> Reply[Mute]:
        return read(self._send("POST", "/mutes", body=new, headers={}), _MUTE)

    def delete_mute(self, mute_id: UUID) -> None:
        raise_for_failure(self._send("DELETE", f"/mutes/{mute_id}", headers={}))

    def list_webhooks(self, *, limit: int | None, cursor: str | None) -> Reply[WebhookPage]:
        return self._get("/webhooks", _WEBHOOKS, {"limit": limit, "cursor": cursor})

    def create_webhook(self, new: WebhookCreate) -> Reply[Webhook]:
        return read(self._send("POST", "/webhooks", body=new, headers={}), _WEBHOOK)

    def update_webhook(self, webhook_id: UUID, change: WebhookUpdate) -> Reply[Webhook]:
        # Who enables or points elsewhere means whatever is there.
        headers = _if_match("*")
        answer = self._send("PUT", f"/webhooks/{webhook_id}", body=change, headers=headers)
        return read(answer, _WEBHOOK)

    def delete_webhook(self, webhook_id: UUID) -> None:
        raise_for_failure(self._send("DELETE", f"/webhooks/{webhook_id}", headers={}))

    def test_webhook(self, webhook_id: UUID) -> Reply[Delivery]:
        return read(self._send("POST", f"/webhooks/{webhook_id}/test", headers={}), _DELIVERY)

    def list_deliveries(
        self,
        webhook_id: UUID,
        *,
        state: DeliveryState | None,
        limit: int | None,
        cursor: str | None,
    ) -> Reply[DeliveryPage]:
        query = {"state": state, "limit": limit, "cursor": cursor}
        return self._get(f"/webhooks/{webhook_id}/deliveries", _DELIVERIES, query)

    def replay_delivery(self, webhook_id: UUID, delivery_id: UUID) -> Reply[Delivery]:
        path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"
        return read(self._send("POST", path, headers={}), _DELIVERY)

    def replay_deliveries(self, webhook_id: UUID, which: ReplayRequest) -> Reply[ReplayAnswer]:
        answer = self._send("POST", f"/webhooks/{webhook_id}/replay", body=which, headers={})
        return read(answer, _REPLAYED)

    @contextmanager
    def stream_events(
        self,
        *,
        types: Sequence[str],
        integration_id: UUID | None,
        since: datetime | None,
        follow: bool,
        last_event_id: str | None,
    ) -> Iterator[Iterator[str]]:
        """The lines of a stream of events, which is silent for SILENT_SECONDS at most."""
        query: dict[str, Any] = {"type": list(types), "follow": str(follow).lower()}
        if integration_id is not None:
            query["integrationId"] = str(integration_id)
        if since is not None:
            query["from"] = since.isoformat()
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with self._lines("/events", query, headers) as lines:
            yield lines

    def get_development_token(self, *, tenant: str, scope: str | None = None) -> str:
        """A token of the embedded system's issuer, which hands one to whoever asks."""
        form = {"grant_type": "client_credentials", "tenant": tenant}
        with _failures_named(self._url):
            answer = self._http.post(
                "/oauth/token", data=form | ({"scope": scope} if scope else {})
            )
        token = read(answer, _TOKEN).value.get("access_token")
        if not isinstance(token, str):
            raise ServerFailed(f"{self._url} gave no token.")
        return token

    def _get(
        self, path: str, shape: TypeAdapter[_VALUE], query: Mapping[str, Any] | None = None
    ) -> Reply[_VALUE]:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        with _failures_named(self._url):
            try:
                answer = self._http.get(_PREFIX + path, params=given)
            except httpx.ConnectError:
                answer = self._http.get(_PREFIX + path, params=given)
        return read(answer, shape)

    @contextmanager
    def _lines(
        self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[Iterator[str]]:
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        with (
            _failures_named(self._url),
            self._http.stream(
                "GET", _PREFIX + path, params=query, headers=headers, timeout=timeout
            ) as answer,
        ):
            if not answer.is_success:
                answer.read()
            raise_for_failure(answer)
            yield answer.iter_lines()

    def _ask_to_wait(
        self, path: str, wait: int, *, body: BaseModel | None = None
    ) -> httpx.Response:
        held_back = min(wait, LONGEST_WAIT_SECONDS)
        headers = {"Prefer": f"wait={held_back}"} if held_back > 0 else {}
        return self._send("POST", path, body=body, headers=headers, extra_seconds=held_back)

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        headers: Mapping[str, str],
        extra_seconds: float = 0,
    ) -> httpx.Response:
        content = None
        if body is not None:
            content = body.model_dump_json(exclude_unset=True)
            headers = {**headers, "Content-Type": "application/json"}
        timeout = httpx.Timeout(ANSWER_SECONDS + extra_seconds, connect=CONNECT_SECONDS)
        with _failures_named(self._url):
            return self._http.request(
                method, _PREFIX + path, content=content, headers=headers, timeout=timeout
            )


@contextmanager
def _failures_named(url: str) -> Iterator[None]:
    """Turns what httpx raises into ServerFailed, in our words: theirs can hold a header."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = failure_of(error).message
        raise ServerFailed(
            f"No answer from {url}: {reason[0].lower()}{reason[1:]}."
            " Is the server running, and is its URL right?"
        ) from None


def _if_match(version: str) -> dict[str, str]:
    return {"If-Match": version if version == "*" else f'"{version}"'}
