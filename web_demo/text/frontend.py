"""The one front end of speech: any text to the words that a voice says. Pure, and before sentences are cut.

Unicode made plain (`plain.py`), markdown to words (`markdown.py`), then numbers and signs by the rules of the language
(`english.py`, `chinese.py`). Texts in other languages keep their digits, which their voices read. Rules that fail leave
their stretch of text as it was: that is logged, and told in the result for the caller to count.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utils.sentences import SentenceSplitter, split_sentences
from web_demo.text.chinese import chinese
from web_demo.text.english import english
from web_demo.text.language import is_english_prose, language_of
from web_demo.text.markdown import MarkdownReader, without_markdown
from web_demo.text.plain import plain
from web_demo.text.scripts import Script, has_words, script_of

log = logging.getLogger(__name__)

REMEMBERED = 512  # texts

_RULES: Mapping[str, Callable[[str], str]] = {"en": english, "zh": chinese}
_SENTENCE = re.compile(
    r".+?(?:(?:[。！？\n]+|[!?]+(?=[\"'”’)\s]|[^\x00-\x7f]|$))[\"'”’」』）)]*|\.(?=\s)|$)\s*", re.DOTALL
)


@dataclass(frozen=True)
class Words:
    """`text`: what the voice is given, "" where nothing can be said. `language`: of the whole, "" for unknown. `failures`:
    stretches of text whose rules raised, and that are as they were written."""

    text: str
    language: str
    failures: int = 0


def words(text: str, *, language: str = "", voice_language: str = "", markdown: bool = True) -> Words:
    """The words of a whole text. `language` and `voice_language` are ISO 639 codes of the request and of the voice: they
    decide where the text itself does not, the request first. Never raises. The last results are remembered."""
    return _words(text, language, voice_language, markdown)


@functools.lru_cache(maxsize=REMEMBERED)
def _words(text: str, language: str, voice_language: str, markdown: bool) -> Words:
    made = plain(without_markdown(text) if markdown else text)
    whole = language_of(made, language, voice_language)
    failures = 0
    out = []
    for stretch, of in _stretches(made, whole):
        said = _said(stretch, of)
        failures += said is None
        out.append(stretch if said is None else said)
    result = "".join(out).strip()
    return Words(result if has_words(result) else "", whole, failures)


def _stretches(text: str, whole: str) -> list[tuple[str, str]]:
    """`text` cut where its language changes, each with its language: the one of the whole but for whole sentences in
    English or Chinese."""
    if whole not in _RULES or not _is_mixed(text):
        return [(text, whole)]
    found: list[tuple[str, str]] = []
    for sentence in _SENTENCE.findall(text):
        own = _language_of_sentence(sentence, whole)
        if found and found[-1][1] == own:
            found[-1] = (found[-1][0] + sentence, own)
        else:
            found.append((sentence, own))
    return found


def _is_mixed(text: str) -> bool:
    return any(script_of(character) is Script.HAN for character in text) and is_english_prose(text)


def _language_of_sentence(sentence: str, whole: str) -> str:
    if any(script_of(character) is Script.HAN for character in sentence):
        return language_of(sentence, whole)
    return "en" if is_english_prose(sentence) else whole


def _said(text: str, language: str) -> str | None:
    """None where the rules raised."""
    if (rules := _RULES.get(language)) is None:
        return text
    head, tail = len(text) - len(text.lstrip()), len(text.rstrip())
    try:
        return text[:head] + rules(text[head:tail]) + text[tail:] if head < tail else text
    except Exception:  # whatever a rule did not foresee must not cost the user the sentence
        log.exception("the rules for %s raised on a text of %d characters", language, len(text))
        return None


class SpokenSentences:
    """The sentences of a text that is still being written, in words, each at most `max_chars` long: push text in, get what
    can be spoken. Sentences of less than `min_chars` go with the next one.

    A sentence has the language that all of the text so far has. `failures` counts as in Words, until `take_failures`.
    """

    def __init__(
        self,
        max_chars: int,
        min_chars: int = 1,
        *,
        language: str = "",
        voice_language: str = "",
        markdown: bool = True,
    ) -> None:
        self._reader = MarkdownReader() if markdown else None
        self._splitter = SentenceSplitter(max_chars, min_chars)
        self._max_chars, self._min_chars = max_chars, min_chars
        self._language = language
        self._voice_language = voice_language
        self._found = ""  # the language of the sentences before
        self.failures = 0

    @property
    def language(self) -> str:
        """Of the sentences so far; before the first one, what was said of it. "" for unknown."""
        return self._found or self._language

    def take_failures(self) -> int:
        """Those since the last call."""
        taken, self.failures = self.failures, 0
        return taken

    def push(self, delta: str) -> list[str]:
        """The sentences that became certain with `delta`."""
        return self._said(self._splitter.push(self._reader.push(delta) if self._reader else delta))

    def flush(self) -> list[str]:
        """What is left, at the end of the text, or before a pause in it; more may be pushed afterwards."""
        rest = self._splitter.push(self._reader.flush()) if self._reader else []
        return self._said(rest + self._splitter.flush())

    def _said(self, sentences: list[str]) -> list[str]:
        out: list[str] = []
        for sentence in sentences:
            made = words(
                sentence,
                language=self.language,
                voice_language=self._voice_language,
                markdown=False,
            )
            self.failures += made.failures
            self._found = made.language or self._found
            pieces = split_sentences(made.text, self._max_chars, self._min_chars)
            out += [" ".join(piece.split()) for piece in pieces if has_words(piece)]
        return out
