"""What a language model writes besides its answer: thoughts, and calls of functions in plain text. Pure.

Most servers send both in fields of their own; others leave the model's tags in the text. They are found in a stream,
wherever it is cut into deltas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_OPENS = frozenset(
    (
        *(f"<{name}>" for name in _NAMES),
        "[think]",  # Mistral
        "◁think▷",  # Kimi
        "<|start_thinking|>",  # Cohere
        "<|channel|>analysis<|message|>",  # gpt-oss
    )
)
_CLOSES = frozenset(
    (
        *(f"</{name}>" for name in _NAMES),
        "[/think]",
        "◁/think▷",
        "<|end_thinking|>",
        "<|channel|>final<|message|>",
    )
)
_CALL_OPENS, _CALL_CLOSES = "<tool_call>", "</tool_call>"
_TAGS = sorted((*_OPENS, *_CLOSES, _CALL_OPENS, _CALL_CLOSES), key=len, reverse=True)
_TAG = re.compile("|".join(map(re.escape, _TAGS)), re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIGH_SURROGATE = re.compile("[\ud800-\udbff]")
_SIGILS = "<[◁"
_LONGEST = max(map(len, _TAGS))


# How thoughts begin whose opening tag is in the prompt, as far as models have habits; an answer may begin so too.
_BEGINNINGS = (
    *(
        "okay",
        "ok,",
        "ok ",
        "alright",
        "all right",
        "hmm",
        "let me",
        "let's",
        "first,",
        "so,",
        "so the",
        "so i",
        "wait",
    ),
    *(
        "got it",
        "the user",
        "user ",
        "the question",
        "i need",
        "i should",
        "i have to",
        "i'm asked",
        "we need",
        "we have",
    ),
    *("we are asked", "thinking", "here's a thinking", "here is my thinking", "analysis"),
    *("好的", "好，", "嗯", "首先", "用户", "我需要", "我们需要", "我得", "我应该", "现在", "让我", "这个问题"),
    *("今の", "まず", "ユーザー"),
)


def may_begin_a_thought(text: str) -> bool:
    """Whether `text`, the beginning of a reply, is one with which models begin to think, as far as it goes."""
    text = text.lstrip().lower().replace("’", "'")
    return any(text.startswith(beginning) or beginning.startswith(text) for beginning in _BEGINNINGS)


@dataclass
class AnswerFilter:
    """Push deltas of a reply in, get the answer's text out, without white space at its start; `flush` at the end.

    `holds`: the model may be inside a thought from its first word on, as those whose prompt ends with the opening tag, so
    nothing comes out before a closing tag or the end. `release` ends that.

    Afterwards `thought` says whether there was one, `unfinished` whether the reply ended inside it, `unopened` whether the first
    tag of all was a closing one, and `calls` has the bodies of calls of functions.
    """

    holds: bool = False
    thought: bool = False
    unopened: bool = False
    calls: list[str] = field(default_factory=list)
    _inside: str = ""  # "", "thought" or "call"
    _body: str = ""  # of the call that is being written
    _pending: str = ""  # may be the beginning of a tag
    _held: str = ""
    _begun: bool = False  # something of the answer has come out
    _last: str = "\n"  # character of it
    _gap: bool = False  # a thought or a call stands between that and what comes next

    @property
    def held(self) -> str:
        """What is held back, and may be a thought."""
        return self._held

    @property
    def unfinished(self) -> bool:
        return self._inside == "thought"

    def push(self, delta: str) -> str:
        text = self._pending + delta
        out, position = [], 0
        for match in _TAG.finditer(text):
            out.append(self._take(text[position : match.start()]))
            self._on_tag(match.group().lower())
            position = match.end()
        rest = text[position:]
        keep = _possible_tag(rest[:-1] if _HIGH_SURROGATE.match(rest[-1:]) else rest)
        self._pending = rest[keep:]
        out.append(self._take(rest[:keep]))
        return "".join(out)

    def release(self) -> str:
        """What was held, and nothing is held from here on."""
        self.holds = False
        held, self._held = self._held, ""
        return self._take(held)

    def flush(self) -> str:
        """The last of the text. What was held was an answer after all, since no tag closed it."""
        pending, self._pending = self._pending, ""
        if self._inside == "call" and (body := self._body + pending).strip():
            self.calls.append(body)  # the closing tag is often the model's stop word
        return self.release() + self._take(pending)

    def _on_tag(self, tag: str) -> None:
        if tag == _CALL_OPENS:
            self._inside, self._body = self._inside or "call", ""
        elif tag == _CALL_CLOSES:
            if self._inside == "call":
                self.calls.append(self._body)
                self._inside = ""
        elif tag in _OPENS:
            self._inside = "thought"
        else:
            self.unopened = self.unopened or (not self.thought and not self._inside)
            self.holds, self._held, self._inside = False, "", ""
        self.thought = self.thought or tag in _OPENS or tag in _CLOSES
        self._gap = True

    def _take(self, text: str) -> str:
        """What of a text without tags is the answer's, now."""
        if self._inside == "call":
            self._body += text
        if self._inside:
            return ""
        if self.holds:
            self._held += text
            return ""
        if _SURROGATE.search(text):  # JSON may bring the halves of a pair one by one, and a half alone
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not self._begun:
            text = text.lstrip()
        if not text:
            return ""
        if self._gap and self._begun and not self._last.isspace() and not text[0].isspace():
            text = " " + text
        self._begun, self._gap, self._last = True, False, text[-1]
        return text


def _possible_tag(text: str) -> int:
    """Where a tag may have begun that is not whole yet; else the length of the text."""
    for start in range(max(0, len(text) - _LONGEST), len(text)):
        if text[start] in _SIGILS and any(tag.startswith(text[start:].lower()) for tag in _TAGS):
            return start
    return len(text)
