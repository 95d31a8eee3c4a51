"""Who a secret is read for, and how that is told."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stella_contracts.auth_ref import AuthRef


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose work needs the secret."""

    tenant_id: str
    integration_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class SecretRead:
    """A vault was asked. What is remembered is read by nobody, and told to nobody."""

    reader: Reader
    reference: AuthRef
    at: datetime
    found: bool


Tell = Callable[[SecretRead], None]
