"""Hotwords as a user writes them. They end up in a model's prompt, so nothing in them may look like its control tokens."""

from __future__ import annotations

import re
import unicodedata

from web_demo.errors import InvalidRequest

MAX_HOTWORDS = 200
MAX_CHARACTERS = 64  # of one hotword

_SEPARATOR = re.compile(r"[,，、;；\n]")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]")
_TOKEN_SIGNS = ("<|", "|>")


def parse(text: str) -> tuple[str, ...]:
    """Words between commas, semicolons (of any width), 、 or line ends, without empty ones and repetitions. Raises
    InvalidRequest for what is no hotword."""
    words = _split(text)
    if len(words) > MAX_HOTWORDS:
        raise InvalidRequest(f"at most {MAX_HOTWORDS} hotwords are taken, got {len(words)}")
    for word in words:
        if len(word) > MAX_CHARACTERS:
            raise InvalidRequest(
                f"a hotword has at most {MAX_CHARACTERS} characters; one of {len(word)} begins with {word[:20]!r}"
            )
        if not _is_plain(word):
            raise InvalidRequest(f"hotwords must not hold control characters nor tokens such as <|…|>; got {word!r}")
    return words


def in_prompt(text: str) -> tuple[str, ...]:
    """What of a free text can be hotwords: the first MAX_HOTWORDS stretches between marks that are short and plain."""
    parts = _split(_SENTENCE_END.sub("\n", text))
    return tuple(word for word in parts if len(word) <= MAX_CHARACTERS and _is_plain(word))[:MAX_HOTWORDS]


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for part in _SEPARATOR.split(text) if (word := " ".join(part.split()))))


def _is_plain(word: str) -> bool:
    return not any(sign in word for sign in _TOKEN_SIGNS) and not any(
        unicodedata.category(character) in ("Cc", "Cs") for character in word
    )


def sanitised(hotword: str) -> str:
    """Without what a prompt's tokenizer reads as control tokens: funasr opens the path between two of them."""
    printable = "".join(character for character in hotword if character.isprintable())
    while "<|" in printable or "|>" in printable:  # removing one may put another together
        printable = printable.replace("<|", "").replace("|>", "")
    return printable.strip()
