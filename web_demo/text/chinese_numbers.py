"""Numbers as Chinese words (Mandarin, simplified): values, counts, years, what is said digit by digit. Pure."""

from __future__ import annotations

_DIGITS = "零一二三四五六七八九"
MAX_CARDINAL_DIGITS = 16


def cardinal(value: int) -> str:
    """二 before 十 and 百, 两 before 千, 万 and 亿."""
    if value < 10:
        return _DIGITS[value]
    if value < 20:
        return "十" + (_DIGITS[value - 10] if value > 10 else "")
    return _large(value)


def _large(value: int) -> str:
    for scale, name in ((10**12, "万亿"), (10**8, "亿"), (10**4, "万")):
        if value >= scale:
            head, rest = divmod(value, scale)
            words = ("两" if head == 2 else cardinal(head)) + name
            if not rest:
                return words
            return words + ("零" if rest < scale // 10 else "") + _within(rest)
    return _within(value)


def _within(value: int) -> str:
    """As inside a larger number: 一十, not 十."""
    if value >= 10**4:
        return _large(value)
    words, gap = "", False
    for scale, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, scale)
        if digit:
            words += ("零" if gap else "") + ("两" if digit == 2 and name == "千" else _DIGITS[digit]) + name
        gap = bool(words) and not digit and bool(value)
        if not value:
            break
    return words


def digits(figures: str, one: str = "一") -> str:
    """Digit by digit; everything else in `figures` is passed over."""
    return "".join(one if figure == "1" else _DIGITS[int(figure)] for figure in figures if figure in "0123456789")


def number(figures: str) -> str:
    whole, point, decimals = figures.replace(",", "").partition(".")
    if not point and len(whole) > 1 and whole[0] == "0":
        return digits(whole)
    if not point and (
        len(whole) > MAX_CARDINAL_DIGITS or (len(whole) >= 9 and "," not in figures and whole[-4:] != "0000")
    ):
        return digits(whole)
    words = (cardinal(int(whole)) if len(whole) <= MAX_CARDINAL_DIGITS else digits(whole)) if whole else "零"
    return f"{words}点{digits(decimals)}" if point else words


def quantity(figures: str) -> str:
    """As `number`, before what is counted: 2 is 两."""
    return "两" if figures == "2" else number(figures)


def year(figures: str) -> str:
    return digits(figures)
