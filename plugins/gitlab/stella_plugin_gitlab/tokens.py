"""What GitLab says of the token that asks."""

from datetime import UTC, date, datetime, time

from pydantic import BaseModel

READING_SCOPES = frozenset({"api", "read_api"})


class AccessToken(BaseModel):
    """
    Body of `GET /personal_access_tokens/self`.

    Also for tokens of projects and groups, which are personal ones of a bot user. Source:
    gitlabhq/gitlabhq, doc/api/personal_access_tokens.md.
    """

    active: bool
    revoked: bool
    scopes: list[str]
    expires_at: date | None = None

    @property
    def may_read(self) -> bool:
        """Whether projects and groups can be listed with it."""
        return not READING_SCOPES.isdisjoint(self.scopes)

    @property
    def ends_at(self) -> datetime | None:
        """A token is good until the day of its expiry begins."""
        if self.expires_at is None:
            return None
        return datetime.combine(self.expires_at, time(), UTC)


class Version(BaseModel):
    """Body of `GET /version`."""

    version: str


class Refusal(BaseModel):
    """Body of a 403 for want of a scope. Other refusals have a `message` instead."""

    error: str
