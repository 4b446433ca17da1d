"""In which language a client is answered. Pure."""

from __future__ import annotations

LANGUAGES = ("en", "zh")  # that messages are written in


def language_of(header: str) -> str:
    """The first of LANGUAGES by the weights of an Accept-Language header (RFC 9110, 12.5.4); "" where it names none."""
    best, best_weight = "", 0.0
    for part in header.split(","):
        tag, _, parameters = part.partition(";")
        language = tag.replace("_", "-").split("-")[0].strip().lower()
        weight = _weight(parameters)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(float(value), 1.0)
    except ValueError:
        return 0.0
