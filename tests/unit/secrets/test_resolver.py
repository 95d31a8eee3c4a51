"""From references to secrets: where they are read, and what is refused."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import SecretUnavailable
from stella_contracts.plugin import Secret
from stella_runtime.secrets import Reader, SecretResolver
from stella_runtime.secrets.stores import FILE_LIMIT, EnvironmentStore, MountedStore

READER = Reader("acme")


class HangingStore:
    """A vault that does not answer."""

    async def read(self, path: str) -> str:
        await asyncio.Event().wait()
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "secrets"
    place.mkdir()
    (tmp_path / "outside").write_text("hunter2")
    return place


def values(secret: Secret) -> Mapping[str, str | None]:
    return {name: secret.get(name) for name in secret.field_names}


async def from_file(folder: Path, reference: str = "authref://file/harbor") -> Secret:
    resolver = SecretResolver(environment="embedded", folder=folder)
    return await resolver.resolve(AuthRef.parse(reference), reader=READER)


async def from_environment(variables: Mapping[str, str], reference: str) -> Secret:
    stores = {"env": EnvironmentStore(variables)}
    resolver = SecretResolver(environment="production", stores=stores)
    return await resolver.resolve(AuthRef.parse(reference), reader=READER)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param("hunter2", {"value": "hunter2"}, id="value"),
        pytest.param("hunter2\r\n", {"value": "hunter2"}, id="newline at the end"),
        pytest.param("12345", {"value": "12345"}, id="digits"),
        pytest.param('"hunter2"', {"value": '"hunter2"'}, id="JSON, but no object"),
        pytest.param("{hunter2", {"value": "{hunter2"}, id="nearly JSON"),
        pytest.param(
            '{"username": "robot", "password": "hunter2\\n"}',
            {"username": "robot", "password": "hunter2"},
            id="fields",
        ),
        pytest.param('{"app_id": 17}', {"app_id": "17"}, id="number"),
        pytest.param(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            {"value": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"},
            id="private key",
        ),
    ],
)
async def test_file_is_a_value_or_an_object_of_fields(
    folder: Path, content: str, found: dict[str, str]
) -> None:
    (folder / "harbor").write_bytes(content.encode())

    assert values(await from_file(folder)) == found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("\n", "is empty", id="newline alone"),
        pytest.param("hunter\n2", "printable ASCII", id="newline within"),
        pytest.param("hunter2é", "printable ASCII", id="not ASCII"),
        pytest.param("hunter2\x00", "printable ASCII", id="NUL"),
        pytest.param("hunter2\x7f", "printable ASCII", id="DEL"),
        pytest.param('{"a": ["hunter2"]}', "no text or number", id="list"),
        pytest.param('{"a": true}', "no text or number", id="bool"),
        pytest.param('{"a": null}', "no text or number", id="null"),
        pytest.param("{}", "without fields", id="no fields"),
        pytest.param("hunter2" * FILE_LIMIT, "bytes", id="too long"),
        pytest.param('{"a":' * 20_000, "bytes", id="too long and too deep"),
        pytest.param(b"hunter2\xff", "UTF-8", id="not text"),
    ],
)
async def test_unusable_file_is_refused_without_its_content(
    folder: Path, content: str | bytes, reason: str
) -> None:
    (folder / "harbor").write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SecretUnavailable, match=reason) as refused:
        await from_file(folder)

    assert "hunter" not in str(refused.value)


async def test_field_selects(folder: Path) -> None:
    (folder / "harbor").write_text('{"robot": "hunter2", "admin": "hunter3"}')

    secret = await from_file(folder, "authref://file/harbor#robot")

    assert values(secret) == {"robot": "hunter2"}
    assert secret.value == "hunter2"


async def test_missing_field_is_named(folder: Path) -> None:
    (folder / "harbor").write_text('{"robot": "hunter2"}')

    with pytest.raises(SecretUnavailable, match="no field 'admin'"):
        await from_file(folder, "authref://file/harbor#admin")


async def test_field_that_was_not_asked_for_may_be_unusable(folder: Path) -> None:
    (folder / "harbor").write_text('{"robot": "hunter2", "expires": null}')

    assert (await from_file(folder, "authref://file/harbor#robot")).value == "hunter2"


async def test_link_within_the_folder_is_followed(folder: Path) -> None:
    (folder / "..data").mkdir()
    (folder / "..data" / "harbor").write_text("hunter2")
    (folder / "harbor").symlink_to("..data/harbor")

    assert (await from_file(folder)).value == "hunter2"


async def test_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "harbor").symlink_to("../outside")

    with pytest.raises(SecretUnavailable, match="outside"):
        await from_file(folder)


async def test_folder_that_leads_out_is_refused(folder: Path) -> None:
    (folder / "up").symlink_to("..")

    with pytest.raises(SecretUnavailable, match="outside"):
        await from_file(folder, "authref://file/up/outside")


@pytest.mark.parametrize("name", ["missing", "folder", "pipe", "circle"])
async def test_what_is_no_file_is_refused(folder: Path, name: str) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to("circle")

    with pytest.raises(SecretUnavailable, match=f"The file {name}"):
        await from_file(folder, f"authref://file/{name}")


async def test_variable_is_read() -> None:
    secret = await from_environment({"ROBOT": "hunter2"}, "authref://env/ROBOT")

    assert secret.value == "hunter2"


@pytest.mark.parametrize("name", ["OTHER", "STELLA_DATABASE_URL"])
async def test_variable_that_is_not_set_or_the_hubs_own_is_refused(name: str) -> None:
    with pytest.raises(SecretUnavailable, match=r"variable|Variables"):
        await from_environment({"STELLA_DATABASE_URL": "hunter2"}, f"authref://env/{name}")


@pytest.mark.parametrize("vault", ["env", "file", "vault", "azure-keyvault"])
async def test_production_has_no_store_of_development(folder: Path, vault: str) -> None:
    (folder / "HOME").write_text("hunter2")
    resolver = SecretResolver(environment="production", folder=folder)

    with pytest.raises(SecretUnavailable, match=f"no vault named '{vault}'"):
        await resolver.resolve(AuthRef(vault, "HOME"), reader=READER)


async def test_vault_that_hangs_is_given_up() -> None:
    stores = {"vault": HangingStore()}
    resolver = SecretResolver(environment="production", stores=stores, seconds=0.01)

    with pytest.raises(SecretUnavailable, match="did not answer"):
        await resolver.resolve(AuthRef("vault", "ci/harbor"), reader=READER)


@pytest.fixture
def mounted(folder: Path) -> SecretResolver:
    """A secret as Kubernetes mounts it: each key a link through `..data`."""
    version = folder / "harbor" / "..2026_11_25"
    version.mkdir(parents=True)
    (version / "username").write_text("ci")
    (version / "password").write_text("hunter2\n")
    (folder / "harbor" / "..data").symlink_to("..2026_11_25")
    for key in ("username", "password"):
        (folder / "harbor" / key).symlink_to(f"..data/{key}")
    return SecretResolver(environment="production", stores={"kubernetes": MountedStore(folder)})


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("authref://kubernetes/harbor", {"username": "ci", "password": "hunter2"}),
        ("authref://kubernetes/harbor#password", {"password": "hunter2"}),
        ("authref://kubernetes/harbor/password", {"value": "hunter2"}),
    ],
)
async def test_mounted_secret_is_read_whole_or_by_key(
    mounted: SecretResolver, reference: str, found: dict[str, str]
) -> None:
    assert values(await mounted.resolve(AuthRef.parse(reference), reader=READER)) == found


async def test_mounted_secret_that_kubernetes_replaces_is_read_anew(
    mounted: SecretResolver, folder: Path
) -> None:
    reference = AuthRef.parse("authref://kubernetes/harbor#password")
    await mounted.resolve(reference, reader=READER)
    newer = folder / "harbor" / "..2026_11_26"
    newer.mkdir()
    (newer / "username").write_text("ci")
    (newer / "password").write_text("hunter3")
    (folder / "harbor" / "..new").symlink_to("..2026_11_26")
    (folder / "harbor" / "..new").replace(folder / "harbor" / "..data")

    assert (await mounted.resolve(reference, reader=READER, fresh=True)).value == "hunter3"


@pytest.mark.parametrize("reference", ["other", "harbor/none", "empty", "up"])
async def test_what_is_not_mounted_is_refused(
    mounted: SecretResolver, folder: Path, reference: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "up").symlink_to("..")

    with pytest.raises(SecretUnavailable):
        await mounted.resolve(AuthRef("kubernetes", reference), reader=READER)
