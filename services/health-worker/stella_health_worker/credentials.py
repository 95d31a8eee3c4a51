"""Reads the secret of one integration, as a step of its check."""

from typing import Protocol

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import AuthRefForbidden, MalformedAuthRef, SecretUnavailable
from stella_contracts.health import CheckTrigger, ErrorCode
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import CheckFailed, Secret, Steps
from stella_runtime.persistence.scheduling import Target
from stella_runtime.secrets import Reader


class Secrets(Protocol):
    async def resolve(self, reference: AuthRef, *, reader: Reader, fresh: bool = False) -> Secret:
        """
        `fresh` bypasses what is remembered. Raises SecretUnavailable or AuthRefForbidden, with
        a sentence that may be shown.
        """
        ...


async def read_secret(
    secrets: Secrets, target: Target, manifest: Manifest, steps: Steps, *, fresh: bool = False
) -> Secret:
    """The secret, with every field that the plugin needs. Raises CheckFailed."""
    with steps.step("resolve_secret"):
        try:
            secret = await secrets.resolve(
                AuthRef.parse(target.auth_ref_uri or ""), reader=_reader(target), fresh=fresh
            )
        except AuthRefForbidden as error:
            raise CheckFailed(ErrorCode.BLOCKED_BY_POLICY, str(error)) from error
        except (MalformedAuthRef, SecretUnavailable) as error:
            raise CheckFailed(ErrorCode.SECRET_UNRESOLVABLE, str(error)) from error
        missing = sorted(set(manifest.secret_fields) - set(secret.field_names))
        if missing:
            raise CheckFailed(
                ErrorCode.SECRET_UNRESOLVABLE,
                f"The secret lacks what the plugin needs: {', '.join(missing)}",
            )
    return secret


def _reader(target: Target) -> Reader:
    is_draft = target.trigger is CheckTrigger.DRAFT
    return Reader(target.tenant_id, None if is_draft else target.integration_id)
