"""Unicode made plain: the same words and numbers in the one way to write them that rules and voices know. Pure.

By the tables of Unicode (https://unicode.org/reports/tr15/): composed accents (NFC), and the compatibility forms of
those blocks that only look different: full-width and mathematical letters, circled numbers, ligatures, squared units.
Full-width punctuation stays where it ends sentences, and becomes narrow inside numbers and addresses.
"""

from __future__ import annotations

import re
import unicodedata

from web_demo.text.scripts import Script, script_of

_SPECIAL_TOKEN = re.compile(r"<\|.*?\|>", re.DOTALL)

# Compatibility forms with a meaning that their decomposition (NFKC) would lose, or that it spells otherwise.
_OWN_FORMS = {
    "㎡": "m²", "㎢": "km²", "㎠": "cm²", "㎟": "mm²", "㎥": "m³", "㎦": "km³", "㎤": "cm³", "㎣": "mm³", "℃": "°C", "℉": "°F",
    "⁄": "/", "∕": "/", "⁒": "%", "﹪": "%", "٪": "%", "№": "No. ", "℅": "c/o", "µ": "μ", "㏂": "a.m.", "㏘": "p.m.",
    "™": " TM ", "®": " ", "©": " © ", "℠": " SM ", "…": "…", "⋯": "…", "︰": "：", "﹣": "-", "－": "-", "˗": "-", "‐": "-",
    "‑": "-", "﹟": "#", "﹠": "&", "﹡": "*", "﹢": "+", "﹤": "<", "﹥": ">", "﹦": "=", "﹩": "$", "﹫": "@", "⁺": "+", "⁻": "-",
    "＄": "$", "￥": "¥", "￡": "£", "￠": "¢", "￦": "₩", "％": "%", "＃": "#", "＆": "&", "＠": "@", "＋": "+", "＝": "=", "＊": "*",
    "＜": "<", "＞": ">", "＾": "^", "＿": "_", "｜": "|", "＼": "\\", "’": "'", "‘": "'", "ʼ": "'", "＇": "'", "＂": '"', "｀": "`",
    "∶": ":", "ː": ":", "⅟": "1/", "٫": ".", "٬": ",",
}  # fmt: skip
_RAISED = {"⁰": "0", "¹": "1", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9", "ⁿ": "n"}
_LOOKS = (  # blocks whose characters are others in another dress
    (0x2071, 0x209C),  # subscripts
    (0x2100, 0x214F),  # letter-like
    (0x2150, 0x218B),  # fractions, Roman numerals
    (0x2460, 0x24FF),  # circled
    (0x3200, 0x33FF),  # enclosed and squared, of China, Japan and Korea
    (0xFB00, 0xFB06),  # ligatures
    (0xFF01, 0xFFEF),  # full-width and half-width
    (0x1D400, 0x1D7FF),  # mathematical alphabets
    (0x1F100, 0x1F1AA),  # enclosed letters
    (0x1FBF0, 0x1FBF9),  # seven-segment digits
    (0xF900, 0xFAFF),  # Han
)
_AFTER_A_WHOLE = re.compile("(?<=[0-9０-９])(?=[¼-¾⅐-⅞↉])")
_CIRCLED = re.compile("[①-⓿❶-➓㈠-㊰㉈-㋿🄀-🄌]")
_WIDE_PUNCTUATION = "！（），－．／：；？［］｛｝～｡｢｣､"
_NARROW = {
    "．": ".", "：": ":", "／": "/", "～": "~", "﹕": ":", "﹒": ".",
}  # fmt: skip
_NARROW_WHERE = re.compile(
    "(?<=[0-9A-Za-z])[．：／～﹕﹒](?=[0-9A-Za-z])|(?<=[A-Za-z])：(?=[／/]{2})|(?<=[0-9A-Za-z：:／/])／(?=[／0-9A-Za-z])"
)
_GROUPED = re.compile(r"(?<![0-9，])[0-9]{1,3}(?:，[0-9]{3})+(?![0-9，])")
_SPEAKABLE_SYMBOLS = frozenset("°©№→←↑↓⇒")
_SPACE = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*\n ?| ?\n ?")
_LONELY = re.compile(r" +(?=[,;!?%。，！？；：、…)\]}」』）】》](?:\s|$|[\"'”]))| +(?=\.(?:\s|$))")
_ROMAN_SIGNS = re.compile("[Ⅰ-ⅿ]+")


def plain(text: str) -> str:
    """`text` with everything in its plain form, without what cannot be said (pictures, controls, halves of surrogate pairs,
    special tokens of language models), white space collapsed. Of line ends at most two follow each other."""
    text = without_special_tokens(text)
    text = _ROMAN_SIGNS.sub(lambda match: _roman_signs(match[0]), text)
    text = _AFTER_A_WHOLE.sub(" ", text)
    text = "".join(_separated(text)) if _CIRCLED.search(text) else text
    text = unicodedata.normalize("NFC", "".join(map(_look, text)))
    out: list[str] = []
    for index, character in enumerate(text):
        kind = _kind(character)
        if kind is None:
            out.append(character)
        elif kind and character.isspace():
            out.append(kind)
        elif kind:  # a picture leaves no hole: between Han characters stands no space
            before, after = out[-1][-1:] if out else "", text[index + 1 : index + 2]
            out.append("" if _is_wide(before) and (_is_wide(after) or not _is_word(after)) else kind)
    text = "".join(out)
    if "，" in text:
        text = _grouped_digits(text)
    text = _NARROW_WHERE.sub(lambda match: _NARROW[match[0]], text)
    text = _LONELY.sub("", _SPACE.sub(" ", text))
    return _LINES.sub(lambda match: "\n\n" if match[0].count("\n") > 1 else "\n", text).strip()


def without_special_tokens(text: str) -> str:
    """`text` without <|…|>, which only an engine itself may write; each becomes a space."""
    while (stripped := _SPECIAL_TOKEN.sub(" ", text)) != text:  # removing one may put another together
        text = stripped
    return text


def _grouped_digits(text: str) -> str:
    """Full-width commas stay what they are between two numbers of a list, such as 10，200."""
    return _GROUPED.sub(lambda match: match[0].replace("，", ",") if match[0].count("，") > 1 else match[0], text)


def _separated(text: str) -> str:
    """Circled numbers that touch a digit or each other stay numbers of their own."""
    out: list[str] = []
    for character in text:
        if out and (
            (
                _CIRCLED.match(character)
                and (out[-1][-1:].isalnum() or _CIRCLED.match(out[-1][-1:]))
                and _touches(out[-1])
            )
            or (character.isdigit() and _CIRCLED.match(out[-1][-1:]))
        ):
            out.append(" ")
        out.append(character)
    return "".join(out)


def _touches(before: str) -> bool:
    return before[-1:].isdigit() or bool(_CIRCLED.match(before[-1:]))


def _look(character: str) -> str:
    if character < "\x80":
        return character
    if (own := _OWN_FORMS.get(character)) is not None:
        return own
    if character in _RAISED:
        return f"^{_RAISED[character]}"
    if character in _WIDE_PUNCTUATION:
        return character
    code = ord(character)
    if (
        unicodedata.category(character) == "No"
        and unicodedata.numeric(character, -1) % 1
        and "VULGAR" in unicodedata.name(character)
    ):
        return unicodedata.normalize("NFKC", character).replace("⁄", "/")
    for first, last in _LOOKS:
        if first <= code <= last:
            known = unicodedata.normalize("NFKC", character)
            return known.strip("()") if _CIRCLED.match(character) else known
    if 0x2776 <= code <= 0x2793:  # dingbats: 1 to 10, three times
        return str((code - 0x2776) % 10 + 1)
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    return character


def _kind(character: str) -> str | None:
    """None: it stays; else what it becomes: nothing for what is invisible, a space for what cannot be said."""
    if character in "\n":
        return None
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if (
        category == "Cf"
        or 0xFE00 <= ord(character) <= 0xFE0F
        or 0xE0100 <= ord(character) <= 0xE01EF
        or character in "\u034f\u115f\u3164"
    ):
        return ""
    if category == "So":
        return None if character in _SPEAKABLE_SYMBOLS else " "
    if category == "Me":  # the frame of a key cap
        return ""
    return " " if category[0] == "C" or (category == "Sk" and character not in "^`") else None


def _is_wide(character: str) -> bool:
    return character != "" and (script_of(character) in (Script.HAN, Script.KANA) or character in "。，！？；：、")


def _is_word(character: str) -> bool:
    return character != "" and character.isalnum()


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman_value(numeral: str) -> int | None:
    """The value of a Roman numeral in capitals, None for what is none: IIII, VX."""
    if not re.fullmatch(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})", numeral) or not numeral:
        return None
    values = [_ROMAN[letter] for letter in numeral]
    return sum(
        -value if index + 1 < len(values) and value < values[index + 1] else value for index, value in enumerate(values)
    )


def _roman_signs(signs: str) -> str:
    """Characters that are Roman numerals and nothing else, such as Ⅳ."""
    letters = unicodedata.normalize("NFKC", signs).upper()
    value = roman_value(letters)
    return str(value) if value is not None else letters
