"""The environment variables of processes that resolve secrets."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from stella_runtime.settings import ProcessSettings

_KEYVAULT = re.compile(r"[a-z][a-z0-9-]{1,22}[a-z0-9]")
_NEEDED = {
    "token": (("vault_token", "vault_token_file"),),
    "approle": (("vault_role_id",), ("vault_secret_id", "vault_secret_id_file")),
    "kubernetes": (("vault_role",),),
}


class SecretSettings(ProcessSettings):
    """Where secrets are, and how the hub proves there who it is."""

    secret_folder: Path | None = Field(
        default=None,
        description="What authref://file/ reads below; only if `environment` is `embedded`.",
    )
    kubernetes_secret_folder: Path | None = Field(
        default=None,
        description="Where secrets of Kubernetes are mounted, each in a folder of its name.",
    )
    azure_keyvaults: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        max_length=100,
        description="Names of the Azure Key Vaults that may be read, parted by commas.",
    )
    azure_keyvault_suffix: str = Field(
        default="vault.azure.net",
        pattern=r"^[a-z0-9.-]+$",
        description="What their names end with; another one in sovereign clouds.",
    )
    azure_client_id: str = Field(
        default="", description="The managed identity to use, if this machine has several."
    )
    vault_url: HttpUrl | None = Field(
        default=None, description="HashiCorp Vault or OpenBao, such as https://vault.example:8200."
    )
    vault_mount: str = Field(
        default="secret",
        pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
        description="The KV version 2 engine that authref://vault/ reads below.",
    )
    vault_namespace: str = Field(
        default="", description="The namespace that this engine and the login are in."
    )
    vault_authorities: Path | None = Field(
        default=None, description="Certificates (PEM) to trust for the vault, not the system's."
    )
    vault_login: Literal["token", "approle", "kubernetes"] = Field(
        default="token", description="How the hub logs in to the vault."
    )
    vault_login_mount: str = Field(
        default="", description="Where that way to log in is mounted, if not at its own name."
    )
    vault_token: SecretStr | None = Field(default=None, description="The token of login `token`.")
    vault_token_file: Path | None = Field(
        default=None, description="A file with it, read for each login: it may be replaced."
    )
    vault_role_id: str = Field(default="", description="The role id of login `approle`.")
    vault_secret_id: SecretStr | None = Field(
        default=None, description="The secret id of login `approle`."
    )
    vault_secret_id_file: Path | None = Field(
        default=None, description="A file with it, read for each login: it may be replaced."
    )
    vault_role: str = Field(default="", description="The role of login `kubernetes`.")
    vault_jwt_file: Path = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="The token of the service account, read for each login `kubernetes`.",
    )

    @property
    def azure_keyvault_urls(self) -> dict[str, str]:
        return {
            name: f"https://{name}.{self.azure_keyvault_suffix}" for name in self.azure_keyvaults
        }

    @field_validator("azure_keyvaults", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("azure_keyvaults")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_KEYVAULT.fullmatch(name) for name in value):
            raise ValueError("Give names, such as team-secrets, and no URLs.")
        return value

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        if self.vault_url is None:
            return self
        for choices in _NEEDED[self.vault_login]:
            if not any(getattr(self, name) for name in choices):
                names = " or ".join(f"STELLA_{name.upper()}" for name in choices)
                raise ValueError(f"The vault login {self.vault_login!r} needs {names}.")
        return self
