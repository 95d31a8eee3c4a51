"""The route of the stream of events."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, status
from pydantic import AfterValidator

from stella_api.dependencies import CurrentEventStreams, Reader
from stella_api.events.response import MEDIA_TYPE, EventStreamResponse
from stella_api.events.stream import Wanted
from stella_api.examples import EVENT_STREAM
from stella_api.health.routes import Moment
from stella_api.integrations.routes import COMMON
from stella_api.problems import problems
from stella_contracts.errors import StreamsBusy, StreamsClosing, TooManyStreams
from stella_contracts.event_filters import is_type_or_prefix

router = APIRouter(prefix="/events", tags=["events"])


def _known(given: str) -> str:
    if not is_type_or_prefix(given):
        raise ValueError("No type of event is called this or begins with it.")
    return given


STREAM = {
    "description": "The whole is text. Each event is fields of these names.",
    "type": ["string", "object"],
    "properties": {
        "id": {"type": "string", "description": "For Last-Event-ID."},
        "event": {"type": "string", "description": "The type of event, or `reset` or `end`."},
        "data": {"type": "string", "description": "The CloudEvent, or why it is reset or ends."},
        "retry": {"type": "integer", "description": "Milliseconds until to come back."},
    },
}

Types = Annotated[
    list[Annotated[str, AfterValidator(_known)]],
    Query(
        alias="type",
        max_length=20,
        description="A type of event, or the words that types begin with: `integration.alert`.",
    ),
]


@router.get(
    "",
    name="stream",
    status_code=status.HTTP_200_OK,
    response_class=EventStreamResponse,
    responses={
        200: {
            "description": "Server-sent events, until one side ends it.",
            "content": {
                MEDIA_TYPE: {"schema": STREAM, "examples": {"alert": {"value": EVENT_STREAM}}}
            },
        },
        **problems(TooManyStreams, StreamsBusy, StreamsClosing, *COMMON),
    },
)
async def stream(
    actor: Reader,
    streams: CurrentEventStreams,
    types: Types = [],  # noqa: B006 - FastAPI copies it
    integration_id: Annotated[UUID | None, Query(alias="integrationId")] = None,
    since: Annotated[
        Moment, Query(alias="from", description="Begin with what was reported since then.")
    ] = None,
    follow: Annotated[
        bool, Query(description="False: end when everything there is has been sent.")
    ] = True,
    last_event_id: Annotated[
        str | None,
        Header(description="The last id that was received: go on behind it."),
    ] = None,
    last_event_id_of_url: Annotated[
        str | None,
        Query(alias="lastEventId", description="The same, for who can set no header."),
    ] = None,
) -> EventStreamResponse:
    """
    The tenant's events as server-sent events; `data` is the CloudEvent.

    Without an id and without `from` it begins now.
    """
    wanted = Wanted(
        types=types,
        integration_id=integration_id,
        # A browser that comes back sends the header, which is newer than its URL.
        last_event_id=last_event_id or last_event_id_of_url,
        since=since,
        follow=follow,
    )
    return EventStreamResponse(
        lambda: streams.opened(actor, wanted), stall_seconds=streams.stall_seconds
    )
