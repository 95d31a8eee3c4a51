"""The config of the plugin."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stella_plugin_github_app.api_root import api_root_of


class GitHubAppSettings(BaseModel):
    # An endpoint that is refused may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api_root: Annotated[str, AfterValidator(api_root_of)] = Field(alias="endpoint")
    app_id: int | str = Field(alias="appId")
    installation_id: int = Field(alias="installationId")
    repositories: list[str] | None = None
    permissions: dict[str, str] | None = None

    @property
    def narrowing(self) -> Mapping[str, object]:
        """What GitHub is told of the token that is asked for; empty if it may do all."""
        asked = {"repositories": self.repositories, "permissions": self.permissions}
        return {name: value for name, value in asked.items() if value}
