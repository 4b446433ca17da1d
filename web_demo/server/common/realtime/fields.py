"""Untrusted JSON objects, read field by field: what is wrong with one is said by its full name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from web_demo.errors import InvalidRequest

MAX_SHOWN = 60  # characters of a value in a message


class EventError(InvalidRequest):
    """What is wrong with a client's event. `param`: the full name of the field, as `session.audio.input.format.type`."""

    def __init__(
        self, message: str, *, code: str = "invalid_value", param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.event_id = event_id


class Fields:
    """An object called `name` ("" is the event itself). A field that is missing or null gives the default; one that must be there
    has none. Everything raises EventError."""

    def __init__(self, data: Mapping[str, Any], name: str = "") -> None:
        self.data = data
        self.name = name

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def object(self, key: str) -> Fields | None:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(key, "an object or null")
        return Fields(value, self.full(key))

    def objects(self, key: str, most: int) -> list[Fields]:
        """Missing or null: none."""
        value = self._list(key, most, "objects", dict)
        return [Fields(item, f"{self.full(key)}[{number}]") for number, item in enumerate(value)]

    def texts(self, key: str, most: int, most_chars: int) -> list[str]:
        """Missing or null: none."""
        value: list[str] = self._list(key, most, f"strings of at most {most_chars} characters", str)
        if any(len(item) > most_chars for item in value):
            self.refuse(key, f"a list of strings of at most {most_chars} characters")
        return value

    def text(self, key: str, default: str | None = None, *, most: int = 1_000) -> str:
        value = self.data.get(key)
        if value is None:
            return default if default is not None else self._missing(key)
        if not isinstance(value, str):
            self.refuse(key, "a string")
        if len(value) > most:
            self.refuse(key, f"a string of at most {most} characters", f"{len(value)}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        value = self.data.get(key)
        if value is None:
            return default if default is not None else self._missing(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.refuse(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.data.get(key)
        if value is None:
            return default if default is not None else self._missing(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(key, " or ".join(choices))
        return value

    def full(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def refuse(self, key: str, expected: str, got: str | None = None) -> NoReturn:
        """Raises EventError."""
        shown = got if got is not None else repr(self.data.get(key))
        name = self.full(key)
        raise EventError(
            f"{name} must be {expected}, got {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '…'}",
            param=name,
        )

    def _missing(self, key: str) -> NoReturn:
        name = self.full(key)
        raise EventError(f"{name} is missing", code="missing_required_parameter", param=name)

    def _list(self, key: str, most: int, of: str, kind: type) -> list[Any]:
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, kind) for item in value):
            self.refuse(key, f"a list of at most {most} {of}")
        return value
