"""The shape of `plugin.toml`, read before any code of the plugin runs."""

import tomllib
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stella_contracts.errors import ManifestRejected
from stella_contracts.integrations import IntervalSeconds, ProviderType, TimeoutSeconds
from stella_contracts.plugin import API_VERSION
from stella_contracts.problems import problems_of

MAX_BYTES = 64 * 1024

CA_BUNDLE = "caBundle"
"""A config field that the hub understands, and no plugin sees: authorities to trust besides."""

_Identifier = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)
]
_Capability = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Manifest(BaseModel):
    """What a plugin says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Identifier
    provider_type: ProviderType
    name: str = Field(default="", max_length=100, description="For people; the id if empty.")
    version: Annotated[
        str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.-]{1,64})?$")
    ]
    api_version: int = Field(description="The version of the plugin interface it was written for.")
    entry_point: Annotated[
        str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*:[A-Za-z_]\w*$")
    ]
    capabilities: list[_Capability] = Field(default=["health"], max_length=32)
    config_schema: dict[str, Any] = Field(description="JSON Schema 2020-12 of `config`.")
    identity_fields: list[str] = Field(
        default=["endpoint"],
        max_length=16,
        description="Config fields that say where requests go.",
    )
    secret_fields: list[str] = Field(
        default=[], max_length=16, description="Fields that the referenced secret must have."
    )
    default_interval_seconds: IntervalSeconds = 300
    default_timeout_seconds: TimeoutSeconds = 10
    allowed_hosts: list[str] = Field(
        default=[],
        max_length=64,
        description="Hosts it may call besides the one of the endpoint; `{host}` stands for that.",
    )

    @classmethod
    def read(cls, content: bytes) -> Self:
        """
        Read a manifest.

        Raises ManifestRejected with a sentence that says what was found and what is accepted.
        """
        if len(content) > MAX_BYTES:
            raise ManifestRejected(f"plugin.toml has more than {MAX_BYTES} bytes.")
        try:
            table = tomllib.loads(content.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise ManifestRejected(f"plugin.toml is not TOML: {error}.") from error
        except ValueError as error:
            # Python reads no integer of more than 4300 digits.
            raise ManifestRejected("plugin.toml cannot be read: a number is too long.") from error
        found = table.get("api_version")
        # Compared first: a manifest of another interface version may have other fields.
        if type(found) is not int or found != API_VERSION:
            raise ManifestRejected(
                f"plugin.toml has api_version {_written(found)}; this hub accepts {API_VERSION}."
            )
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise _rejected(error) from error


def _written(value: object) -> str:
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError) as error:
        # TOML has integers in hexadecimal that are too long for Python to write in decimal.
        raise ManifestRejected("plugin.toml cannot be read: api_version is too long.") from error


def _rejected(error: ValidationError) -> ManifestRejected:
    problems = problems_of(error)
    listed = "; ".join(f"{each.pointer}: {each.detail}" for each in problems)
    rejected = ManifestRejected(f"plugin.toml breaks its schema: {listed}.")
    rejected.problems = problems
    return rejected
