"""The environment variables of discovery."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from stella_runtime.plugin_host.scanner import Sources
from stella_runtime.settings import ProcessSettings

IN_THE_IMAGE = Path("/app/plugins")
_IN_THE_REPOSITORY = Path(__file__).resolve().parents[3] / "plugins"


class DiscoverySettings(ProcessSettings):
    """What discovery needs to know."""

    builtin_plugin_path: Path | None = Field(
        default=None,
        description="The hub's own plugins, which alone may run. Default: /app/plugins; if "
        "`environment` is `embedded`, the plugins folder of the checkout.",
    )
    plugin_paths: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="More folders of plugins, or plugins, parted as PATH is, by colons.",
    )
    plugin_packages: bool = Field(
        default=True,
        description="Whether installed packages with an entry point of the group "
        "stella.integrations.plugins are looked at.",
    )
    once: bool = Field(default=False, description="Scan once, then exit; also --once.")

    @property
    def sources(self) -> Sources:
        """Where to look."""
        default = _IN_THE_REPOSITORY if self.environment == "embedded" else IN_THE_IMAGE
        return Sources(
            built_in=(self.builtin_plugin_path or default,),
            paths=self.plugin_paths,
            installed=self.plugin_packages,
        )

    @field_validator("builtin_plugin_path", mode="before")
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        # Path("") would be the working directory.
        return value or None

    @field_validator("plugin_paths", mode="before")
    @classmethod
    def _parted(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part for part in value.split(os.pathsep) if part)
