"""What Harbor says of itself, and what it amounts to."""

from pydantic import BaseModel, Field

from stella_contracts.health import ErrorCode, HealthResult

_VITAL = frozenset({"core", "database", "redis", "registry"})
"""Without one of these, images can be neither pushed nor pulled."""

_OTHERS = frozenset({"jobservice", "portal", "registryctl", "trivy"})


class Component(BaseModel):
    name: str
    status: str


class HealthReport(BaseModel):
    """
    Body of `GET /health`, whose HTTP status is 200 whatever it says.

    Source: goharbor/harbor, src/controller/health/controller.go.
    """

    status: str
    components: list[Component] = Field(min_length=1)

    @property
    def result(self) -> HealthResult:
        """
        Unhealthy if a vital component is, degraded if anything else is not healthy.

        A component that we do not know and that is healthy comes with a newer Harbor, and is
        no trouble. Messages name the components that we know: other names are foreign text.
        """
        ailing = {each.name for each in self.components if each.status != "healthy"}
        unhealthy = {each.name for each in self.components if each.status == "unhealthy"}
        if vital := unhealthy & _VITAL:
            return HealthResult.unhealthy(ErrorCode.REMOTE_ERROR, _sentence(vital))
        if ailing:
            return HealthResult.degraded(ErrorCode.REMOTE_ERROR, _sentence(ailing))
        if self.status != "healthy":
            return HealthResult.degraded(
                ErrorCode.REMOTE_ERROR, "Harbor calls itself unhealthy and no component of it"
            )
        return HealthResult.healthy()


def _sentence(ailing: frozenset[str] | set[str]) -> str:
    known = sorted(ailing & (_VITAL | _OTHERS))
    named = known if len(known) == len(ailing) else [*known, "a component that is not known"]
    return f"Harbor reports as not healthy: {', '.join(named)}"


class CurrentUser(BaseModel):
    """Body of `GET /users/current`, for people. Robots get a 412 instead."""

    username: str


class SystemInfo(BaseModel):
    """Body of `GET /systeminfo`. `read_only` is told to those who are logged in."""

    read_only: bool | None = None
