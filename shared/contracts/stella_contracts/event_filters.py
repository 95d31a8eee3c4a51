"""Which events a subscriber wants: types, or the words that types begin with."""

from collections.abc import Sequence

from stella_contracts.messages import EventType


def is_type_or_prefix(text: str) -> bool:
    """Whether this is a type of event, or whole words that some begin with."""
    return any(each == text or each.startswith(f"{text}.") for each in EventType)


def is_wanted(event_type: str, wanted: Sequence[str]) -> bool:
    """Whether a type of event is one of these, or begins with one; without any, each is."""
    return not wanted or any(
        event_type == each or event_type.startswith(f"{each}.") for each in wanted
    )
