"""What a Jenkins controller says of itself, and what it amounts to."""

from pydantic import BaseModel, Field

from stella_contracts.health import ErrorCode, HealthResult


class WhoAmI(BaseModel):
    """Body of `GET /whoAmI/api/json`."""

    anonymous: bool
    authenticated: bool
    name: str


class Controller(BaseModel):
    """Body of `GET /api/json?tree=mode,quietingDown`."""

    mode: str
    quieting_down: bool = Field(default=False, alias="quietingDown")


class Agent(BaseModel):
    offline: bool
    temporarily_offline: bool = Field(default=False, alias="temporarilyOffline")


class Agents(BaseModel):
    """Body of `GET /computer/api/json`: the agents, the controller's own among them."""

    computer: list[Agent]

    @property
    def lost(self) -> int:
        """Those that are away, and were not taken away by somebody."""
        return sum(each.offline and not each.temporarily_offline for each in self.computer)


class Job(BaseModel):
    full_name: str = Field(alias="fullName")
    url: str | None = None


class Jobs(BaseModel):
    """Body of `GET /api/json?tree=jobs[fullName,url]`."""

    jobs: list[Job]


def judged(controller: Controller, agents: Agents | None) -> HealthResult:
    """
    Degraded while the controller starts no builds, or could run none.

    `agents` is None if the user may not see them.
    """
    if controller.quieting_down:
        return HealthResult.degraded(
            ErrorCode.REMOTE_ERROR, "Jenkins prepares to shut down: it starts no builds"
        )
    if agents is None:
        return HealthResult.healthy()
    if agents.computer and all(each.offline for each in agents.computer):
        return HealthResult.degraded(
            ErrorCode.REMOTE_ERROR, "Every agent of Jenkins is offline: no build can run"
        )
    if agents.lost:
        return HealthResult.degraded(
            ErrorCode.REMOTE_ERROR, f"{agents.lost} of {len(agents.computer)} agents are offline"
        )
    return HealthResult.healthy()
