"""What a change of an integration differs in: its fields, and what of their values is kept."""

from collections.abc import Mapping
from typing import Any

import orjson

from stella_api.integrations.credentials import find_credentials
from stella_contracts.auth_ref import AuthRef
from stella_contracts.integrations import Integration

MOST_NAMES = 100
LONGEST_NAME = 100
LONGEST_VALUE = 500
"""Of a value in the audit log, in bytes of JSON."""
HIDDEN = "(hidden)"
"""In place of a value that looks like a credential."""
TOO_LONG = "(too long)"

_SORTED = orjson.OPT_SORT_KEYS


def differs(before: Integration, name: str, new: Any) -> bool:
    """Whether a field, by its Python name, is another than it was."""
    if name == "config":
        return not _is_same_json(before.config, new)
    return bool(getattr(before, name) != _plain(new))


def changed_values(before: Integration, changes: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """
    What differs, before and after, by the names that the fields have in JSON.

    Of a config, each key by itself. At most MOST_NAMES.
    """
    values: dict[str, tuple[Any, Any]] = {}
    for name, new in changes.items():
        if name != "config":
            alias = Integration.model_fields[name].alias or name
            values[alias] = (getattr(before, name), _plain(new))
            continue
        for key in before.config.keys() | new.keys():
            one, other = before.config.get(key), new.get(key)
            if (key in new) != (key in before.config) or not _is_same_json(one, other):
                values[f"config.{key[:LONGEST_NAME]}"] = (one, other)
    return {name: values[name] for name in sorted(values)[:MOST_NAMES]}


def shown(name: str, value: Any) -> Any:
    """A value as the audit log keeps it: no credential, and nothing long."""
    if find_credentials({name.removeprefix("config."): value}):
        return HIDDEN
    return value if len(orjson.dumps(value)) <= LONGEST_VALUE else TOO_LONG


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, AuthRef) else value


def _is_same_json(one: Any, other: Any) -> bool:
    # Python takes 1, 1.0 and true for equal; a plugin may not.
    return orjson.dumps(one, option=_SORTED) == orjson.dumps(other, option=_SORTED)
