"""Text into sentences, also while the text is still being written. Pure.

How the text was cut into deltas never changes the sentences: a possible end is decided only when what follows it is
known. So a sentence comes out with the first character of the next one, or with `flush`.
"""

from __future__ import annotations

import re
import unicodedata

WIDE_ENDS = "。！？｡।॥۔។။።։"  # end a sentence whatever follows
NARROW_ENDS = ".!?…؟．"  # end one only before a space, or before a script that writes none
CLOSERS = "\"'”’»)]}」』）】》〉"
CLAUSE_MARKS = "，、；：,;:—،؛"

_POINTS = ".．"
_NEVER_LAST = re.compile(  # a period after these belongs to the word
    "mr|mrs|ms|mx|messrs|mme|mlle|dr|dra|prof|sra?|srta|hon|rev|fr|gen|col|capt|cmdr|lt|sgt|gov|sen|rep|pres|mt|ft|figs?|eqs?"
    "|vol|pp|eds?|vs|cf|e\\.g|i\\.e|approx|ca|bzw|z\\.b|d\\.h|u\\.a|pág|av"
)
_MAYBE_LAST = re.compile(  # these end a sentence too: whether they do, the next word says
    "st|jr|inc|ltd|co|corp|llc|bros|dept|est|assn|univ|ave|blvd|rd|hwy|bldg|apt|etc|al|usw|ph\\.d|m\\.d|no|nos|art|ch|sec|min|max|oz|lb"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|sat|sun"
    "|(?:[^\\W\\d_]\\.)+[^\\W\\d_]"  # a.m., U.S., D.C.
)
_BEFORE_A_NUMBER = frozenset(("no", "nos", "nr", "art", "p", "ch", "sec", "min", "max"))
_STARTER = re.compile(  # words that begin sentences often, and names never
    "a|about|after|all|also|although|an|and|another|any|are|as|at|because|before|both|but|by|can|could|did|do|does"
    "|each|either|every|few|finally|first|for|from|had|has|have|he|her|here|his|how|however|i|if|in|instead|is|it"
    "|its|last|later|let|many|maybe|meanwhile|most|my|neither|next|no|nobody|nor|not|now|of|on|once|one|or|other|our"
    "|perhaps|please|she|should|since|so|some|someone|sometimes|soon|still|such|thank|thanks|that|the|their|then"
    "|there|these|they|this|those|though|thus|to|today|tomorrow|unfortunately|until|was|we|were|what|when|where"
    "|whether|which|while|who|whose|why|will|with|would|yes|yesterday|yet|you|your|der|die|das|ein|eine|er|sie|es"
    "|wir|und|aber|le|la|les|un|une|il|elle|nous|mais|el|los|las|una|ella|pero"
)
_MONTHS = (  # after a day and a point, as German writes dates
    "januar", "februar", "märz", "april", "mai", "juni", "juli", "august", "september", "oktober", "november", "dezember",
)  # fmt: skip

_WIDE_LETTER = re.compile(  # full-width digits are digits
    r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uff0f\uff1a-\uffef\U00020000-\U000323af]"
)
_END = re.compile(f"[\n{re.escape(WIDE_ENDS)}]|[{re.escape(NARROW_ENDS)}]+")
_TAIL = re.compile(  # French puts a space before a closing guillemet, German begins with one
    f"[{re.escape(WIDE_ENDS + NARROW_ENDS + CLOSERS)}]*(?:[ \u00a0\u202f]»(?=\\s|$))?"
)
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_NEXT_WORD = re.compile(r"[\s\"'“‘«(\[]*([^\W\d_]*)")
_LABEL = re.compile(r"\s*(?:\d{1,3}|[^\W\d_])$")  # "1. Take …", "B. Leave …"


class SentenceSplitter:
    """Push text in, get whole sentences out, stripped, none of them blank.

    A sentence of more than `max_chars` is cut at a clause mark, else at a space, else between two letters of a script
    that writes no spaces; inside a word only when that word alone is longer. Ends before `min_chars` are passed over,
    for engines that speak very short texts badly.
    """

    def __init__(self, max_chars: int = 300, min_chars: int = 1) -> None:
        if not 1 <= min_chars <= max_chars:
            raise ValueError(f"min_chars must be 1 to max_chars, got {min_chars} and {max_chars}")
        self._max_chars = max_chars
        self._min_chars = min_chars
        self._text = ""

    def push(self, delta: str) -> list[str]:
        """The sentences that became certain with `delta`."""
        self._text += delta
        return self._take(final=False)

    def flush(self) -> list[str]:
        """What is left, at the end of the text; the splitter is empty afterwards."""
        rest = self._take(final=True)
        if last := self._text.strip():
            rest.append(last)
        self._text = ""
        return rest

    def _take(self, *, final: bool) -> list[str]:
        sentences, start = [], 0
        while (end := self._cut(start, final=final)) is not None:
            if sentence := self._text[start:end].strip():
                sentences.append(sentence)
            start = end
        self._text = self._text[start:].lstrip()
        return sentences

    def _cut(self, start: int, *, final: bool) -> int | None:
        """Where the sentence from `start` ends, or None: not known yet, or (`final`) with the text."""
        while start < len(self._text) and self._text[start].isspace():
            start += 1
        limit = start + self._max_chars
        for match in _END.finditer(self._text, start, min(limit, len(self._text))):
            end = _tail_end(self._text, match.end())
            if end >= len(self._text) and not final:
                return None
            if len(self._text[start:end].strip()) < self._min_chars:
                continue
            verdict = _is_end(self._text, start, match, end, final=final)
            if verdict is None and not final:
                return None
            if verdict is not False:
                return end
        return _forced_cut(self._text, start, limit) if len(self._text) > limit else None


def split_sentences(text: str, max_chars: int = 300, min_chars: int = 1) -> list[str]:
    """The sentences of a whole text; see SentenceSplitter."""
    splitter = SentenceSplitter(max_chars, min_chars)
    return splitter.push(text) + splitter.flush()


def _tail_end(text: str, position: int) -> int:
    """After the closing quotes, brackets and further marks that belong to an end."""
    if text[position - 1] == "\n":
        return position
    match = _TAIL.match(text, position)
    return match.end() if match else position


def _is_end(text: str, start: int, match: re.Match[str], end: int, *, final: bool) -> bool | None:
    """Whether the mark at `match` ends a sentence; None when only what is still to come can tell, or `final` at the end."""
    mark = match.group()
    if mark == "\n" or mark in WIDE_ENDS or any(character in WIDE_ENDS for character in text[match.end() : end]):
        return True
    point = mark in _POINTS
    before = text[start : match.start()]
    if end < len(text) and not text[end].isspace():
        return _WIDE_LETTER.match(text, end) is not None and not (point and _may_go_on(before))
    following = _next_visible(text, end)
    if following == "\n":
        return True
    if following is None:
        return None
    if following.islower() or (point and following in _POINTS):
        return False  # the latter: "Wait . . . what?"
    return not point or _ends_with_word(text, end, before, final=final)


def _next_visible(text: str, position: int) -> str | None:
    """The next character that is no space, where a line's end counts as visible."""
    while position < len(text):
        if text[position] == "\n" or not text[position].isspace():
            return text[position]
        position += 1
    return None


def _may_go_on(before: str) -> bool:
    """Whether a point after `before` can belong to its last word."""
    word = _LAST_WORD.search(before)
    name = word.group().lower() if word else ""
    return _LABEL.fullmatch(before) is not None or any(rule.fullmatch(name) for rule in (_NEVER_LAST, _MAYBE_LAST))


def _ends_with_word(text: str, end: int, before: str, *, final: bool) -> bool | None:
    """Whether the point after `before` ends its sentence, and does not only belong to its last word; by that word and by the
    next one, from `end` on. None while that one is not whole, which it is at the `final` end."""
    if _LABEL.fullmatch(before) and before.strip().lower() != "i":
        return False
    following = _NEXT_WORD.match(text, end)
    assert following is not None, "it matches the empty text too"
    next_word = following[1].lower()
    growing = following.end() == len(text) and not final
    if before[-1:].isdigit():
        if growing and any(month.startswith(next_word) for month in _MONTHS):
            return None
        return next_word not in _MONTHS
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    name = word.group().lower()
    if _NEVER_LAST.fullmatch(name):
        return False
    if name in _BEFORE_A_NUMBER:
        return not text[following.end() : following.end() + 1].isdigit()
    if not (len(name) == 1 and name != "i") and not _MAYBE_LAST.fullmatch(name):
        return True
    if growing:
        return None
    after = text[following.end() : following.end() + 1]
    return _STARTER.fullmatch(next_word) is not None and not (after and after in _POINTS)  # "J. A. Smith"


def _forced_cut(text: str, start: int, limit: int) -> int:
    """A cut at `limit` or before it, at the best place in the second half of the span."""
    earliest = start + (limit - start) // 2
    for position in range(limit, earliest, -1):
        if text[position - 1] in CLAUSE_MARKS and not text[position].isdigit():
            return position
    for position in range(limit, start, -1):
        if text[position].isspace() or text[position - 1].isspace():
            return position
        if _WIDE_LETTER.match(text, position) and _WIDE_LETTER.match(text, position - 1):
            return position
    for position in range(limit, start, -1):
        if not _joins(text[position - 1], text[position]):
            return position
    return limit


def _joins(one: str, other: str) -> bool:
    """Whether two neighbours are seen as one: a letter and its marks, parts of one emoji."""
    return unicodedata.category(other)[0] == "M" or "\u200d" in (one, other)
