"""Hotwords as a user writes them. They end up in a model's prompt, so nothing in them may look like its control tokens."""

from __future__ import annotations

import re
import unicodedata

from web_demo.errors import InvalidRequest

MAX_HOTWORDS = 200
MAX_CHARACTERS = 64  # of one hotword

_SEPARATOR = re.compile(r"[,，、;；\n]")
_TOKEN_SIGNS = ("<|", "|>")


def parse(text: str) -> tuple[str, ...]:
    """Words between commas, semicolons (of any width), 、 or line ends, without empty ones and repetitions. Raises
    InvalidRequest for what is no hotword."""
    words = tuple(dict.fromkeys(word for part in _SEPARATOR.split(text) if (word := " ".join(part.split()))))
    if len(words) > MAX_HOTWORDS:
        raise InvalidRequest(f"at most {MAX_HOTWORDS} hotwords are taken, got {len(words)}")
    for word in words:
        if len(word) > MAX_CHARACTERS:
            raise InvalidRequest(
                f"a hotword has at most {MAX_CHARACTERS} characters; one of {len(word)} begins with {word[:20]!r}"
            )
        if any(sign in word for sign in _TOKEN_SIGNS) or any(unicodedata.category(c) in ("Cc", "Cs") for c in word):
            raise InvalidRequest(f"hotwords must not hold control characters nor tokens such as <|…|>; got {word!r}")
    return words
