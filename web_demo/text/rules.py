"""What the rules of all languages share: how they are applied, and the shapes of what is written alike everywhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

DASH = "[-–—‒−~～]"  # between the ends of a range
NUMBER = r"(?:\d{1,3}(?:,\d{2,3}){0,6},\d{3}(?!\d|,\d)|\d+)(?:\.\d+)?"
MINUS = r"(?:(?<![\w)\].,%°′″])[-−–](?=[\d.$€£¥]))"  # a sign, not a dash between two things

_DOMAIN_ENDS = "com|org|net|io|ai|cn|edu|gov|co|uk|de|dev|app|me|info|tv|jp|fr|xyz|tech|eu|us|ru|kr|int|mil|biz|cc|hk|tw|sg|au|ca|it|es|ch|nl"
_FILE_ENDS = (
    "txt|pdf|py|js|ts|json|ya?ml|toml|md|html?|css|csv|xlsx?|docx?|pptx?|zip|tar|gz|png|jpe?g|gif|svg|mp3|mp4|wav|flac|ogg|"
    "exe|sh|cpp|hpp|java|rs|go|log|ini|cfg|conf|xml|sql|ipynb|bat|dll|so|deb|whl|onnx|pt|safetensors"
)
_NAME = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?"
# Everything after the host; punctuation at its end belongs to the sentence.
_REST = r"(?::\d{1,5}(?!\d))?(?:[/?#](?:[\w./?#&=%+~@:;,!*'$-]*[\w/=&+~-])?)?"
ADDRESS = re.compile(
    rf"(?<![A-Za-z0-9@._/-])(?:"
    rf"[A-Za-z0-9._%+-]{{1,64}}@{_NAME}(?:\.{_NAME}){{0,8}}\.[A-Za-z]{{2,10}}(?![A-Za-z0-9])"
    rf"|(?:https?|ftp|wss?|ssh|file)://[\w.@-]{{1,253}}{_REST}"
    rf"|(?:{_NAME}\.){{1,8}}(?:{_DOMAIN_ENDS})(?![A-Za-z0-9-]){_REST}"
    rf"|[\w-]{{1,64}}(?:\.[\w-]{{1,64}}){{0,4}}\.(?:{_FILE_ENDS})(?![A-Za-z0-9])"
    rf"|(?:~|\.{{1,2}})?(?:/[A-Za-z0-9_.+-]{{1,64}}){{2,20}}/?(?![A-Za-z0-9])"
    rf"|[A-Za-z]:(?:\\[A-Za-z0-9_.+-]{{1,64}}){{1,20}}\\?"
    rf")",
    re.ASCII,
)
SCHEME = re.compile(r"^[a-z]{2,5}://")
IP_ADDRESS = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(:\d{1,5})?(/\d{1,2})?(?![\d.]*\d)")
# Both figures of "v" and of three and more parts; dates with points come before.
VERSION = re.compile(
    r"(?<![\w.])([vV]\.?\s?)?(\d{1,5}(?:\.\d{1,5}){2,5})(?![\d.]*\d)|(?<![A-Za-z0-9.])([vV])\.?\s?(\d{1,4}(?:\.\d{1,5})?)(?![\d.]*\d)"
)

CARD = re.compile(r"(?<![\d-])\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,4})?(?![\d-]*\d)")
PHONE = re.compile(
    r"(?<![\w.,-])(?:"
    r"\+\d{1,3}[ -]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){1,4}"  # international
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[.-]\d{4}"  # North America
    r"|(?:1[ .-])?\d{3} \d{3} \d{4}"
    r"|1-\d{3}-\d{3}-\d{4}"
    r"|1[3-9]\d{9}|1[3-9]\d[ -]\d{4}[ -]\d{4}"  # China, mobile
    r"|\(?0\d{2,3}\)?[ -]?\d{7,8}(?:-\d{1,6})?|[48]00-?\d{3,4}-?\d{3,4}"  # China, land lines and services
    r"|0\d{2,4} \d{3,4} \d{3,4}"  # Britain
    r"|\d{3}-\d{2}-\d{4}"  # a number of social security, read like one
    r"|555-\d{4}"
    r")(?![\w-]*\d|\.\d|,\d{3}(?!\d)|[A-Za-z])",
    re.ASCII,
)


@dataclass(frozen=True)
class Rule:
    """`say` gives the words of a match, or None to leave it as it is."""

    name: str
    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], str | None]


def rule(name: str, pattern: str | re.Pattern[str], say: Callable[[re.Match[str]], str | None], flags: int = 0) -> Rule:
    return Rule(name, re.compile(pattern, flags) if isinstance(pattern, str) else pattern, say)


def applied(text: str, rules: Iterable[Rule]) -> str:
    """`text` after all rules, in order: what one has put into words the next ones do not touch."""
    for each in rules:
        text = each.pattern.sub(lambda match, say=each.say: _or_same(say(match), match), text)  # type: ignore[misc]
    return text


def _or_same(words: str | None, match: re.Match[str]) -> str:
    return match[0] if words is None else words


def alternatives(words: Iterable[str]) -> str:
    """As a part of a pattern, longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def spelt(address: str, signs: Mapping[str, str], digit: Callable[[str], str], gap: str) -> str:
    """An address with its punctuation in words (`signs`), and its digits one by one; words are set apart by `gap`."""
    out: list[str] = []
    for part in re.findall(r"\d+|[^\W\d_]+|.", address):
        if part.isdigit():
            out.append(digit(part))
        else:
            out.append(signs.get(part, part))
    return gap.join(out)
