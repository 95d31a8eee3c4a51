"""
Every error we raise on purpose, as one tree.

The second level is the *kind*. Boundaries (HTTP, the consumer, the CLI) decide by
kind and never by leaf, so a new leaf needs no change at any boundary.

    StellaError
    |-- NotFound
    |   |-- IntegrationNotFound
    |   |-- CheckNotFound
    |   |-- MuteNotFound
    |   |-- PluginNotFound
    |   |-- WebhookNotFound
    |   `-- DeliveryNotFound
    |-- Conflict
    |   |-- NameTaken
    |   `-- IdempotencyKeyInUse
    |-- PreconditionFailed
    |   `-- VersionMismatch
    |-- PreconditionMissing
    |   `-- IfMatchMissing
    |-- Malformed
    |   |-- MalformedAuthRef
    |   |-- MalformedCursor
    |   `-- MalformedPrecondition
    |-- Rejected
    |   |-- UnknownProvider
    |   |-- ConfigRejected
    |   |-- ManifestRejected
    |   |-- ImportRejected
    |   |-- LineRejected
    |   |-- IntegrationDisabled
    |   |-- MuteRejected
    |   |-- WebhookDisabled
    |   `-- IdempotencyKeyReused
    |-- Unauthenticated
    |   `-- TokenRejected
    |-- Forbidden
    |   |-- ScopeMissing
    |   |-- TenantMissing
    |   `-- AuthRefForbidden
    |-- Limited
    |   |-- TooManyRequests
    |   |-- TooManyStreams
    |   `-- TooManyWebhooks
    `-- Unavailable
        |-- DatabaseUnavailable
        |-- BusUnavailable
        |-- KeysUnavailable
        |-- PluginUnavailable
        |-- SecretUnavailable
        |-- DraftUnanswered
        |-- StreamsBusy
        `-- StreamsClosing
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where (a JSON pointer, RFC 6901) and what to do."""

    pointer: str
    detail: str


class StellaError(Exception):
    """Base of everything we raise on purpose."""

    code: ClassVar[str]
    """Stable and machine-readable. Clients match on it, so it never changes."""

    retry_after_seconds: int | None = None
    """When the same may work, where that is known better than by the kind."""

    problems: Sequence[Problem] = ()
    """The places in the input that caused it, where there are such places."""


class NotFound(StellaError):
    """The thing named does not exist, or not for this tenant."""


class Conflict(StellaError):
    """The request contradicts what is stored."""


class PreconditionFailed(StellaError):
    """The thing changed since the caller last read it."""


class PreconditionMissing(StellaError):
    """The request does not say what it is based on, and might undo what somebody else did."""


class Malformed(StellaError):
    """The input cannot be read at all."""


class Rejected(StellaError):
    """The request is well-formed and still cannot be carried out."""


class Unauthenticated(StellaError):
    """Who is calling is not known."""


class Forbidden(StellaError):
    """The caller is known and may not do this."""


class Limited(StellaError):
    """The caller uses as much as it may. When it uses less, it will be served."""


class Unavailable(StellaError):
    """Something we depend on did not answer. Trying again later may work."""


class IntegrationNotFound(NotFound):
    code = "integration_not_found"

    def __init__(self, integration_id: UUID | str) -> None:
        super().__init__(f"No integration {str(integration_id)[:64]!r}.")


class CheckNotFound(NotFound):
    code = "check_not_found"

    def __init__(self, check_id: UUID | str) -> None:
        super().__init__(
            f"No check {str(check_id)[:64]!r} of this integration. History ends with retention."
        )


class MuteNotFound(NotFound):
    code = "mute_not_found"

    def __init__(self, mute_id: UUID | str) -> None:
        super().__init__(f"No mute {str(mute_id)[:64]!r}. It may have been deleted.")


class PluginNotFound(NotFound):
    code = "plugin_not_found"

    def __init__(self, provider_type: str) -> None:
        super().__init__(f"No plugin provides {provider_type[:64]!r}.")


class WebhookNotFound(NotFound):
    code = "webhook_not_found"

    def __init__(self, webhook_id: UUID | str) -> None:
        super().__init__(f"No webhook {str(webhook_id)[:64]!r}.")


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"

    def __init__(self, delivery_id: UUID | str) -> None:
        super().__init__(
            f"No delivery {str(delivery_id)[:64]!r} of this webhook. The log ends with retention."
        )


class NameTaken(Conflict):
    code = "integration_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"An integration named {name!r} already exists.")
        self.problems = [Problem("/name", "Choose another name, or update the existing one.")]


class ImportRejected(Rejected):
    """The import as a whole; none of its lines was looked at."""

    code = "import_rejected"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)


class LineRejected(Rejected):
    """One line of it."""

    code = "line_rejected"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("The line cannot be imported.")
        self.problems = problems


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still running. Retry shortly.")


class VersionMismatch(PreconditionFailed):
    code = "version_mismatch"

    def __init__(self, current: int) -> None:
        super().__init__(f"It has changed: its version is {current}. Read it again, then retry.")
        self.current = current


class IfMatchMissing(PreconditionMissing):
    code = "if_match_missing"

    def __init__(self) -> None:
        super().__init__(
            "A change needs If-Match: the ETag that it is based on, or * for whatever is there."
        )


class MalformedAuthRef(Malformed):
    code = "malformed_auth_ref"


class MalformedCursor(Malformed):
    code = "malformed_cursor"

    def __init__(self) -> None:
        super().__init__("The cursor is not one of this listing, or has expired. Start without it.")
        self.problems = [Problem("/cursor", "Use a nextCursor of the same listing and filters.")]


class MalformedPrecondition(Malformed):
    code = "malformed_precondition"

    def __init__(self) -> None:
        super().__init__('If-Match takes the ETag of the integration, such as "3", or *.')


class UnknownProvider(Rejected):
    code = "unknown_provider"

    def __init__(self, provider_type: str, known: Sequence[str]) -> None:
        listed = ", ".join(known) or "none: no plugin is registered yet"
        super().__init__(f"No plugin provides {provider_type!r}. Known: {listed}.")
        self.problems = [Problem("/type", f"Use one of: {listed}.")]


class ConfigRejected(Rejected):
    """The body's `config`, or a field beside it, breaks a rule; `problems` says which."""

    code = "config_rejected"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("The integration cannot be stored as it is. See errors.")
        self.problems = list(problems)


class ManifestRejected(Rejected):
    """A plugin's manifest cannot be accepted; the message says why and what is accepted."""

    code = "manifest_rejected"


class IntegrationDisabled(Rejected):
    code = "integration_disabled"

    def __init__(self) -> None:
        super().__init__("The integration is disabled. Set enabled to true, then check it.")


class MuteRejected(Rejected):
    """A mute would last too long, or select what is not there; `problems` says which."""

    code = "mute_rejected"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("Nothing was muted. See errors.")
        self.problems = list(problems)


class WebhookDisabled(Rejected):
    code = "webhook_disabled"

    def __init__(self) -> None:
        super().__init__("The webhook is disabled. Set enabled to true, then try it.")


class IdempotencyKeyReused(Rejected):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request. Use a new key.")


class TokenRejected(Unauthenticated):
    code = "token_rejected"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The bearer token was rejected: {reason}.")


class ScopeMissing(Forbidden):
    code = "scope_missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The token lacks the scope {scope}.")


class TenantMissing(Forbidden):
    code = "tenant_missing"

    def __init__(self, claim: str) -> None:
        super().__init__(f"The token names no tenant. It must have the claim {claim!r}.")


class AuthRefForbidden(Forbidden):
    code = "auth_ref_forbidden"

    def __init__(self, allowed: Sequence[str]) -> None:
        listed = ", ".join(allowed) or "nothing"
        super().__init__(f"The policy of this hub lets the tenant refer to: {listed[:300]}.")


class DraftUnanswered(Unavailable):
    code = "draft_unanswered"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"No worker has checked the draft within {seconds:g} s. Send it again.")


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer.")


class BusUnavailable(Unavailable):
    code = "bus_unavailable"


class KeysUnavailable(Unavailable):
    code = "keys_unavailable"

    def __init__(self) -> None:
        super().__init__("The keys that tokens are checked with cannot be fetched.")


class PluginUnavailable(Unavailable):
    """No plugin can be run for a type now; the message says why, and may be shown to anyone."""

    code = "plugin_unavailable"


class SecretUnavailable(Unavailable):
    """The reference cannot be resolved. The message never holds a value."""

    code = "secret_unavailable"


class TooManyRequests(Limited):
    code = "too_many_requests"

    def __init__(self, per_minute: int, *, retry_after_seconds: int) -> None:
        super().__init__(f"The tenant has made more than {per_minute} requests in a minute.")
        self.retry_after_seconds = retry_after_seconds


class TooManyStreams(Limited):
    code = "too_many_streams"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The tenant has {limit} streams of events already. Close one, or share.")


class TooManyWebhooks(Limited):
    code = "too_many_webhooks"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The tenant has {limit} webhooks already. Delete one first.")


class StreamsBusy(Unavailable):
    code = "streams_busy"

    def __init__(self) -> None:
        super().__init__("This process serves as many streams of events as it can.")


class StreamsClosing(Unavailable):
    code = "streams_closing"

    def __init__(self) -> None:
        super().__init__("This process is stopping and begins no stream of events.")
