"""The config of the plugin."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stella_contracts.endpoints import Endpoint

API_PATH = "/v2"

_DOCKER_HUB = Endpoint.parse("https://registry-1.docker.io")
_DOCKER_HUB_TOKENS = "https://auth.docker.io"
# The names that Docker's own clients take for it; /v1 is what their config files have.
_DOCKER_HUB_NAMES = {"docker.io", "www.docker.io", "hub.docker.com", "index.docker.io"}


def api_root_of(endpoint: str) -> str:
    """
    The root of the registry's API, without a slash at its end.

    Raises ValueError, whose text never repeats the input.
    """
    parsed = Endpoint.parse(endpoint)
    if parsed.host in _DOCKER_HUB_NAMES:
        parsed = _DOCKER_HUB
    return parsed.api_root(API_PATH)


def _origin_of(endpoint: str) -> str:
    return Endpoint.parse(endpoint).origin


class RegistrySettings(BaseModel):
    # An endpoint that is refused may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api_root: Annotated[str, AfterValidator(api_root_of)] = Field(alias="endpoint")
    token_origin: Annotated[str, AfterValidator(_origin_of)] | None = Field(
        default=None, alias="tokenEndpoint"
    )

    @model_validator(mode="after")
    def _is_as_safe_everywhere(self) -> Self:
        if self.token_origin and self.token_origin.startswith("http:") and self._is_https:
            raise ValueError("tokenEndpoint must start with https:// as well as endpoint.")
        return self

    @property
    def token_origins(self) -> frozenset[str]:
        """The only origins that the credential may be sent to in exchange for a token."""
        own = Endpoint.parse(self.api_root).origin
        others = {_DOCKER_HUB_TOKENS} if own == _DOCKER_HUB.origin else set()
        return frozenset({own, *others, *filter(None, [self.token_origin])})

    @property
    def _is_https(self) -> bool:
        return self.api_root.startswith("https:")
