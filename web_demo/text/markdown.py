"""Markdown as the words that it shows, also while it is still being written. Pure.

Headings, list items and rows of tables become sentences, links their text, code its text; rules, fences, HTML tags and
the marks of emphasis go. The notation is CommonMark's (https://spec.commonmark.org/0.31.2/) with GitHub's tables, task
lists and strikethrough. What only looks like it stays: `2 * 3`, `2**10`, `snake_case`, `#1`, `[3]`.
"""

from __future__ import annotations

import html
import re

from web_demo.text.scripts import Script, script_of

# Characters of an unfinished line that wait for their end: beyond it, marks that were opened are dropped.
MAX_HELD = 400

_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}(?:\s+(.*?))?(?:\s+#+)?\s*$")
_RULE = re.compile(r"\s{0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,}|=+\s*)$")
_TABLE_RULE = re.compile(r"\s{0,9}\|?\s{0,9}:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_QUOTE = re.compile(r"^\s{0,3}(?:>\s?)+")
_ITEM = re.compile(r"\s*(?:[-*+•]\s+(?:\[[ xX]\]\s+)?|(?=\d{1,9}[.)]\s))")
_REFERENCE = re.compile(r"\s{0,3}\[[^\]\n]{1,100}\]:\s*\S+.*$")  # where a link leads, written apart from it
_ESCAPED = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_TAG = re.compile(
    r"</?(?:a|abbr|article|aside|b|blockquote|br|center|cite|code|dd|del|details|div|dl|dt|em|figure|font|footer|h[1-6]|"
    r"header|hr|i|img|ins|kbd|li|main|mark|nav|ol|p|pre|q|s|samp|section|small|span|strike|strong|sub|summary|sup|table|"
    r"tbody|td|tfoot|th|thead|tr|tt|u|ul|var)(?:\s[^<>\n]{0,300})?/?>|<!--[^\n]{0,300}?-->",
    re.IGNORECASE,
)
_AUTOLINK = re.compile(r"<((?:https?|ftp|mailto):[^\s<>]{1,300}|[\w.+-]{1,64}@[\w.-]{1,255})>")
_LINK = re.compile(
    r"!?\[((?:[^\[\]\n]|\[[^\[\]\n]{0,100}\]){0,300})\]"  # its text
    r"(\([^()\n]{0,500}(?:\([^()\n]{0,100}\)[^()\n]{0,100})?\)|\[[^\[\]\n]{0,100}\])"  # (where it leads), or [its label]
)
_NOTE = re.compile(r"\[\^[^\[\]\s]{1,40}\]")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});")
_ENDS = ".!?…。！？:：;；,，、"


def without_markdown(text: str) -> str:
    """The words of a whole text; lines stay lines."""
    reader = MarkdownReader()
    return reader.push(text) + reader.flush()


class MarkdownReader:
    """Push text in, get its words out as soon as no mark that is still open can change them.

    How the text was cut into deltas never changes what comes out in all (but for marks that wait for more than MAX_HELD
    characters for their end).
    """

    def __init__(self) -> None:
        self._held = ""
        self._fence = ""  # the marks that opened a block of code
        self._inside = False  # the start of the line in `_held` is out already …
        self._sentence = False  # … and it is one of a list, which ends in a mark
        self._last = ""  # the last visible character that came out

    def push(self, delta: str) -> str:
        """The words that became certain with `delta`."""
        self._held += delta
        out: list[str] = []
        while (end := self._held.find("\n")) >= 0:
            line, self._held = self._held[:end], self._held[end + 1 :]
            words = self._rest_of(line) if self._inside else self._line(line)
            self._inside = self._sentence = False
            if words is not None:
                out.append(words + "\n")
        if not self._fence:
            out.append(self._beginning())
        return self._noted("".join(out))

    def flush(self) -> str:
        """What is left, at the end of the text; the reader is as new afterwards."""
        line, self._held = self._held, ""
        words = self._rest_of(line) if self._inside else self._line(line)
        self._fence, self._inside, self._sentence, self._last = "", False, False, ""
        return words or ""

    def _line(self, line: str) -> str | None:
        """The words of a whole line; None where it only held notation."""
        if self._fence:
            if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                self._fence = ""
                return None
            return line
        line = _QUOTE.sub("", line, count=1)
        if fence := _FENCE.match(line):
            self._fence = fence[1]
            return None
        if _RULE.match(line) or (_TABLE_RULE.match(line) and "-" in line and "|" in line) or _REFERENCE.match(line):
            return None
        if heading := _HEADING.match(line):
            return _ended(_inline(heading[1] or ""))
        if line.lstrip().startswith("|"):
            cells = [_inline(cell.strip()) for cell in line.strip().strip("|").split("|")]
            row = [cell for cell in cells if cell]
            return _ended(("，" if _is_wide(row) else ", ").join(row)) if row else None
        if item := _ITEM.match(line):
            return _ended(_inline(line[item.end() :]))
        return _inline(line)

    def _rest_of(self, line: str) -> str:
        words = _inline(line)
        if self._sentence and (words.rstrip() or self._last):
            return _ended(words) if words.strip() else ("" if self._last in _ENDS else _mark(self._last))
        return words

    def _beginning(self) -> str:
        """What is certain of a line whose end is not there yet."""
        if not self._inside:
            line = _QUOTE.sub("", self._held, count=1)
            item = _ITEM.match(line)
            start = line[item.end() :] if item else line.lstrip()
            # A heading, a table, a fence, a rule and the marks of a list are known by the start of their line.
            if len(start) < 4 or (not item and start[0] in "#|=-+>`~_•[") or (not item and start[0].isdigit()):
                return ""
            if not item and start[0] == "*" and (start[1].isspace() or not start.strip("* ")):
                return ""
            if item and start[0] in "-*+>#|`~":
                return ""
            self._held, self._inside, self._sentence = start if item else line, True, item is not None
        words, used = _certain(self._held)
        self._held = self._held[used:]
        return words

    def _noted(self, words: str) -> str:
        if visible := words.rstrip():
            self._last = visible[-1]
        return words


def _certain(text: str) -> tuple[str, int]:
    """The words of as much of a line as can be told before its end is known, and how many characters that is: up to the
    last space at which no mark is open."""
    end = len(text)
    while (end := text.rfind(" ", 0, end)) > 0:
        part = text[: end + 1]
        if len(text) > MAX_HELD or not _is_open(part):
            return _inline(part), end + 1
    return "", 0


def _is_open(part: str) -> bool:
    """Whether a mark in `part` may belong to one that is still to come."""
    return (
        part.count("`") % 2 == 1
        or part.count("[") > part.count("]")
        or part.count("<") > part.count(">")
        or part.count("*") % 2 == 1
        or part.count("**") % 2 == 1
        or part.count("~~") % 2 == 1
        or len(re.findall(r"(?<!\w)_(?=\S)|(?<=\S)_(?!\w)", part)) % 2 == 1
        or (part.count("(") > part.count(")") and "](" in part)
    )


def _inline(text: str) -> str:
    out: list[str] = []
    position, closers = 0, set[int]()
    while position < len(text):
        words, position = _next(text, position, closers)
        out.append(words)
    return "".join(out)


def _next(text: str, at: int, closers: set[int]) -> tuple[str, int]:
    """The words of what begins at `at`, and where the next thing begins."""
    character = text[at]
    if character == "\\" and text[at + 1 : at + 2] in _ESCAPED and at + 1 < len(text):
        return text[at + 1], at + 2
    if character == "`":
        return _code(text, at)
    if character in "![":
        if note := _NOTE.match(text, at):
            return "", note.end()
        if link := _LINK.match(text, at):
            return _inline(link[1]), link.end()
    elif character == "<":
        if link := _AUTOLINK.match(text, at):
            return link[1], link.end()
        if tag := _TAG.match(text, at):
            return (" " if tag[0][1:3].lower() in ("br", "td", "th", "li") else ""), tag.end()
    elif character == "&":
        if entity := _ENTITY.match(text, at):
            return html.unescape(entity[0]), entity.end()
    elif character in "*_":
        return _emphasis(text, at, closers)
    elif text.startswith("~~", at):
        return "", at + 2
    return character, at + 1


def _code(text: str, at: int) -> tuple[str, int]:
    marks = re.compile("`+").match(text, at)
    assert marks is not None
    end = marks.end()
    closing = re.compile(f"(?<!`){marks[0]}(?!`)").search(text, end)
    return (text[end : closing.start()].strip(), closing.end()) if closing else ("", end)


def _emphasis(text: str, at: int, closers: set[int]) -> tuple[str, int]:
    mark = text[at]
    end = at + 1
    while end < len(text) and text[end] == mark:
        end += 1
    before, after = text[at - 1 : at] or " ", text[end : end + 1] or " "
    if before.isspace() and after.isspace():
        return text[at:end], end  # `2 * 3`
    if (before.isdigit() and after.isdigit()) or (mark == "_" and _in_word(before) and _in_word(after)):
        return text[at:end], end  # `2**10`, `snake_case`
    if end - at > 1 and not (mark == "_" and (_in_word(before) or _in_word(after)) and end - at > 3):
        return "", end
    if at in closers:
        return "", end
    if not after.isspace() and (closing := _closing(text, mark, end)) is not None:
        closers.add(closing)
        return "", end
    return mark, end


def _closing(text: str, mark: str, start: int) -> int | None:
    for position in range(start + 1, len(text)):
        if text[position] == mark and not text[position - 1].isspace():
            alone = text[position - 1] != mark and text[position + 1 : position + 2] != mark
            following = text[position + 1 : position + 2] or " "
            if (
                alone
                and not (mark == "_" and _in_word(following))
                and not (text[position - 1].isdigit() and following.isdigit())
            ):
                return position
    return None


def _in_word(character: str) -> bool:
    return character.isalnum() and script_of(character) is not Script.HAN


def _ended(words: str) -> str:
    """With a mark at its end, so that it stays a sentence when lines are joined."""
    words = words.rstrip()
    return words if not words or words.rstrip("\"'”’)）")[-1:] in _ENDS else words + _mark(words[-1])


def _mark(last: str) -> str:
    return "。" if script_of(last) in (Script.HAN, Script.KANA) else "."


def _is_wide(cells: list[str]) -> bool:
    return any(script_of(character) in (Script.HAN, Script.KANA) for cell in cells for character in cell)
