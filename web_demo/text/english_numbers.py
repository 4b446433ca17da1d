"""Numbers as English words: cardinals, ordinals, years, what is said digit by digit. Pure.

American usage: "one hundred twenty", "zero" in numbers said digit by digit.
"""

from __future__ import annotations

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
MAX_CARDINAL_DIGITS = 15  # longer numbers are said digit by digit


def cardinal(value: int) -> str:
    if value < 20:
        return UNITS[value]
    if value < 100:
        return TENS[value // 10] + (f" {UNITS[value % 10]}" if value % 10 else "")
    scale, name = next((scale, name) for scale, name in _SCALES if value >= scale)
    rest = value % scale
    return f"{cardinal(value // scale)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(value: int) -> str:
    head, _, last = cardinal(value).rpartition(" ")
    word = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return f"{head} {word}".strip()


def digits(figures: str, zero: str = "zero") -> str:
    """Digit by digit; everything else in `figures` is passed over."""
    return " ".join(zero if figure == "0" else UNITS[int(figure)] for figure in figures if figure in "0123456789")


def number(figures: str) -> str:
    """A number with or without commas and decimals: a cardinal, or digit by digit where it begins with a zero or is no
    quantity any more."""
    whole, point, decimals = figures.replace(",", "").partition(".")
    if not point and (len(whole) > MAX_CARDINAL_DIGITS or (len(whole) > 1 and whole[0] == "0")):
        return digits(whole)
    if not point and len(whole) >= 9 and "," not in figures and not whole.endswith("000"):
        return digits(whole)
    words = (cardinal(int(whole)) if len(whole) <= MAX_CARDINAL_DIGITS else digits(whole)) if whole else ""
    return f"{words} point {digits(decimals)}".strip() if point else words


def year(figures: str) -> str:
    value = int(figures)
    if len(figures) != 4 or value < 1000 or value % 1000 == 0:
        return number(figures)
    century, rest = divmod(value, 100)
    if 2000 <= value < 2010:
        return cardinal(value)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def model(figures: str) -> str:
    """The number in a name, as in A320 or RTX 4090."""
    if figures[0] == "0" or len(figures) > 4:
        return digits(figures)
    if len(figures) < 3 or int(figures[1:]) == 0 or int(figures) % 1000 == 0:
        return cardinal(int(figures))
    head, rest = cardinal(int(figures[:-2])), int(figures[-2:])
    return f"{head} {'hundred' if rest == 0 else ('oh ' if rest < 10 else '') + cardinal(rest)}"
