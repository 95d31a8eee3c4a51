"""Which integration is meant: by its id or by its name."""

from dataclasses import dataclass
from uuid import UUID

from stella_cli.client import Client
from stella_cli.failures import NotThere
from stella_cli.paging import LARGEST_PAGE, pages


@dataclass(frozen=True, slots=True)
class Target:
    """An integration, and what to call it on the screen."""

    id: UUID
    name: str


def find_target(client: Client, given: str) -> Target:
    """
    The integration of that id or exact name.

    An id is not looked up here. Raises NotThere when no integration has the name.
    """
    try:
        return Target(UUID(given), given)
    except ValueError:
        pass
    for page in pages(
        lambda cursor: client.list_integrations(q=given, limit=LARGEST_PAGE, cursor=cursor)
    ):
        for each in page.value.items:
            if each.name == given:
                return Target(each.id, each.name)
    raise NotThere(
        f"No integration is named {given!r}. `stella integrations list` shows those there are."
    )
