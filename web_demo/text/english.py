"""Numbers, dates, amounts and signs as English words. Pure; some tens of microseconds a sentence.

American usage: month before day where both could be meant. The numbers themselves are in `english_numbers.py`.
"""

from __future__ import annotations

import re

from web_demo.text.english_numbers import (
    MAX_CARDINAL_DIGITS,
    TENS,
    cardinal,
    digits,
    model,
    number,
    ordinal,
    year,
)
from web_demo.text.plain import roman_value
from web_demo.text.rules import (
    ADDRESS,
    CARD,
    DASH,
    IP_ADDRESS,
    MINUS,
    NUMBER,
    PHONE,
    SCHEME,
    VERSION,
    Rule,
    alternatives,
    applied,
    rule,
    spelt,
)

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH_OF = (
    {name.lower(): name for name in _MONTHS} | {name[:3].lower(): name for name in _MONTHS} | {"sept": "September"}
)
_MONTH = f"(?:{alternatives(_MONTHS)}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\\b\\.?)"


def _spaced(match: re.Match[str], words: str) -> str:
    """`words` apart from letters that touch the match."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() : match.end() + 1]
    return (" " if before.isalnum() else "") + words + (" " if after.isalnum() else "")


def _signed(sign: str | None, words: str) -> str:
    return f"minus {words}" if sign else words


# --- addresses, and what is said digit by digit -----------------------------------------------------------------------

_SIGNS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon", "?": "question mark", "=": "equals",
    "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde", "\\": "backslash", ",": "comma", ";": "semicolon",
    "!": "exclamation mark", "*": "star", "'": "apostrophe", "$": "dollar",
}  # fmt: skip
_LONG_NUMBER_OF = (
    "id|user id|code|pin|passcode|password|account|acct|card|serial|tracking|order|invoice|confirmation|reference|ref|zip|"
    "zip code|postal code|postcode|extension|ext|flight|ssn|isbn|license|licence|routing|member|policy|employee|student|passport|"
    "ticket|booking|barcode|otp|imei"
)
_CALLED = "call|dial|phone|tel|telephone|mobile|cell|fax|hotline|whatsapp|number is|text|ring"


def _address(match: re.Match[str]) -> str:
    return _spaced(match, spelt(SCHEME.sub("", match[0]), _SIGNS, digits, " "))


def _grouped(figures: str) -> str:
    plus = "plus " if figures.startswith("+") else ""
    return plus + ", ".join(digits(group) for group in re.findall(r"\d+", figures))


def _ip(match: re.Match[str]) -> str | None:
    if any(int(part) > 255 for part in match.group(1, 2, 3, 4)):
        return None
    words = " dot ".join(digits(part) for part in match.group(1, 2, 3, 4))
    words += f" port {digits(match[5])}" if match[5] else ""
    return words + (f" slash {cardinal(int(match[6][1:]))}" if match[6] else "")


def _version(match: re.Match[str]) -> str:
    parts = (match[2] or match[4]).split(".")
    words = " point ".join(number(part) if len(part) < 3 else digits(part) for part in parts)
    return _spaced(match, ("version " if match[1] or match[3] else "") + words)


# --- dates and times --------------------------------------------------------------------------------------------------

_YEARS = "(?:1[0-9]|20)[0-9]{2}"


def _day_of(month: str, day: str, after: str | None = None) -> str | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    return f"{_MONTHS[int(month) - 1]} {ordinal(int(day))}" + (f", {year(after)}" if after else "")


def _date_by_month(match: re.Match[str]) -> str | None:
    first, second = match[1], match[3]
    return _day_of(first, second, match[4]) or _day_of(second, first, match[4])


def _century(figures: str) -> str:
    """The year that two figures mean: of this century up to 2049."""
    return ("20" if figures < "50" else "19") + figures


def _named(month: str) -> str:
    return _MONTH_OF[month.rstrip(".").lower()]


def _month_day(match: re.Match[str]) -> str | None:
    month, day, until, following = match.group("month", "day", "until", "year")
    if not 1 <= int(day) <= 31 or (until and not 1 <= int(until) <= 31):
        return None
    words = f"{_named(month)} {ordinal(int(day))}" + (f" to {ordinal(int(until))}" if until else "")
    return words + (f", {year(following)}" if following else "")


def _day_month(match: re.Match[str]) -> str | None:
    the, day, until, month, following = match.group("the", "day", "until", "month", "year")
    if not 1 <= int(day) <= 31 or (until and not 1 <= int(until) <= 31):
        return None
    words = ordinal(int(day)) + (f" to {ordinal(int(until))}" if until else "")
    return f"{the or 'the '}{words} of {_named(month)}" + (f", {year(following)}" if following else "")


_HALF = r"(?:\s?([AaPp])(?:\.\s?[Mm]\.?|[Mm])(?![A-Za-z0-9]))"


def _clock(hour: str, minute: str, second: str | None, half: str | None) -> str | None:
    if int(hour) > 24 or int(minute) > 59 or int(second or 0) > 59:
        return None
    words = number(hour.lstrip("0") or "0") if int(hour) or hour == "0" else "zero"
    if minute == "00":
        if int(hour) > 12:
            words += " hundred" if not second else " hours"
        elif not half or second:
            words += " o'clock"
    else:
        words += f" {'oh ' if minute[0] == '0' else ''}{cardinal(int(minute))}"
    if second:
        words += f" and {cardinal(int(second))} second" + ("" if int(second) == 1 else "s")
    return words + (f" {half.upper()}M" if half else "")


def _stop(match: re.Match[str]) -> str:
    """The full stop of "p.m." where it also ends the sentence."""
    if not match[0].endswith("."):
        return ""
    rest = match.string[match.end() :].lstrip(" ")
    return "." if not rest or rest[0] in "\"'”’\n" or (rest[0].isupper() and not _AFTER_A_TIME.match(rest)) else ""


_AFTER_A_TIME = re.compile(
    rf"(?:{_MONTH}|(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?s?\b|[ECMP][SD]?T\b|GMT|UTC|CET|BST|JST|Eastern|Pacific)"
)


def _time(match: re.Match[str]) -> str | None:
    words = _clock(match[1], match[2], match[3], match[4])
    return None if words is None else _spaced(match, words + _stop(match))


def _hour(match: re.Match[str]) -> str | None:
    if not 1 <= int(match[1]) <= 12:
        return None
    return f"{cardinal(int(match[1]))} {match[2].upper()}M{_stop(match)}"


def _hours(match: re.Match[str]) -> str | None:
    if not (1 <= int(match[1]) <= 12 and 1 <= int(match[2]) <= 12):
        return None
    return f"{cardinal(int(match[1]))} to {cardinal(int(match[2]))} {match[3].upper()}M{_stop(match)}"


def _decade(match: re.Match[str]) -> str | None:
    figures = match[1]
    if len(figures) == 2:
        if figures == "10":
            return None if not match[0].startswith("'") else "tens"
        return TENS[int(figures[0])][:-1] + "ies"
    century, rest = int(figures[:2]), figures[2:]
    if figures.endswith("000"):
        return f"{cardinal(int(figures))}s"
    if rest == "00":
        return f"{cardinal(century)} hundreds"
    return f"{cardinal(century)} {'tens' if rest == '10' else TENS[int(rest[0])][:-1] + 'ies'}"


def _year_range(match: re.Match[str]) -> str:
    until = match[2]
    return f"{year(match[1])} to {year(until) if len(until) == 4 else number(until)}"


_COUNTED = frozenset(["people", "men", "women", "children", "sheep", "fish", "dollars"])
_NOT_COUNTED = frozenset(["was", "is", "as", "has", "does", "series", "this", "plus", "versus"])


def _bare_year(match: re.Match[str]) -> str | None:
    """1999 alone is a year, and 1999 people are a number."""
    following = re.match(r"\s([a-z]+)", match.string[match.end() :])
    if following and (following[1] in _COUNTED or (following[1].endswith("s") and following[1] not in _NOT_COUNTED)):
        return None
    return year(match[0])


# --- amounts ----------------------------------------------------------------------------------------------------------

_MONEY = {  # sign or code: one, several, one hundredth, hundredths ("" where there is none)
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "฿": ("baht", "baht", "", ""),
    "₫": ("dong", "dong", "", ""),
    "₺": ("lira", "lira", "", ""),
    "₪": ("shekel", "shekels", "", ""),
    "₱": ("peso", "pesos", "", ""),
    "¢": ("cent", "cents", "", ""),
}
_MONEY |= {
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "HK$": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "NT$": ("Taiwan dollar", "Taiwan dollars", "cent", "cents"),
    "S$": ("Singapore dollar", "Singapore dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "CA$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "AU$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "R$": ("real", "reais", "centavo", "centavos"),
    "USD": ("US dollar", "US dollars", "cent", "cents"),
    "EUR": _MONEY["€"],
    "GBP": ("British pound", "British pounds", "penny", "pence"),
    "JPY": ("Japanese yen", "Japanese yen", "", ""),
    "CNY": ("yuan", "yuan", "", ""),
    "RMB": ("yuan", "yuan", "", ""),
    "INR": ("Indian rupee", "Indian rupees", "paisa", "paise"),
    "KRW": ("Korean won", "Korean won", "", ""),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "CHF": ("Swiss franc", "Swiss francs", "", ""),
    "HKD": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "BTC": ("bitcoin", "bitcoins", "", ""),
}
_CURRENCY = alternatives(_MONEY)
_SCALE_OF = {
    "k": "thousand", "K": "thousand", "M": "million", "m": "million", "mn": "million", "B": "billion", "b": "billion",
    "bn": "billion", "T": "trillion", "tn": "trillion", "MM": "million",
}  # fmt: skip
_SCALE = rf"(?:\s?(?P<scale>thousand|million|billion|trillion|hundred)(?![a-z])|(?P<short>{alternatives(_SCALE_OF)})(?![A-Za-z0-9]))?"


def _money(match: re.Match[str]) -> str | None:
    groups = match.groupdict()
    one, many, cent, cents = _MONEY[groups["currency"]]
    amount, until, scale = (
        groups["amount"],
        groups.get("until"),
        groups["scale"] or _SCALE_OF.get(groups["short"] or ""),
    )
    sign = "minus " if groups.get("sign") else ""
    if scale or until:
        words = number(amount) + (f" to {number(until)}" if until else "") + (f" {scale}" if scale else "")
        return _spaced(match, f"{sign}{words} {many}")
    whole, _, decimals = amount.replace(",", "").partition(".")
    if len(decimals) == 2 and cent and len(whole) <= MAX_CARDINAL_DIGITS:
        value, part = int(whole or 0), int(decimals)
        named = f"{number(whole or '0')} {one if value == 1 else many}"
        small = f"{cardinal(part)} {cent if part == 1 else cents}"
        return _spaced(match, sign + (named if not part else small if not value else f"{named} and {small}"))
    return _spaced(match, f"{sign}{number(amount)} {one if amount == '1' else many}")


_MEASURES = {  # symbol: one, several
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "μm": ("micrometer", "micrometers"), "nm": ("nanometer", "nanometers"),
    "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"), "mg": ("milligram", "milligrams"), "μg": ("microgram", "micrograms"), "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"), "L": ("liter", "liters"), "l": ("liter", "liters"),
    "mL": ("milliliter", "milliliters"), "ml": ("milliliter", "milliliters"), "dl": ("deciliter", "deciliters"),
    "cc": ("cubic centimeter", "cubic centimeters"), "gal": ("gallon", "gallons"), "s": ("second", "seconds"),
    "sec": ("second", "seconds"), "secs": ("second", "seconds"), "ms": ("millisecond", "milliseconds"),
    "μs": ("microsecond", "microseconds"), "ns": ("nanosecond", "nanoseconds"), "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"), "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"),
    "yr": ("year", "years"), "yrs": ("year", "years"), "wk": ("week", "weeks"), "wks": ("week", "weeks"),
    "mph": ("mile per hour", "miles per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"), "km/h": ("kilometer per hour", "kilometers per hour"),
    "rpm": ("revolution per minute", "revolutions per minute"), "fps": ("frame per second", "frames per second"),
    "bpm": ("beat per minute", "beats per minute"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "THz": ("terahertz", "terahertz"),
    "B": ("byte", "bytes"), "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"), "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"), "PB": ("petabyte", "petabytes"),
    "KiB": ("kibibyte", "kibibytes"), "MiB": ("mebibyte", "mebibytes"), "GiB": ("gibibyte", "gibibytes"),
    "bps": ("bit per second", "bits per second"), "kbps": ("kilobit per second", "kilobits per second"),
    "Kbps": ("kilobit per second", "kilobits per second"), "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"), "GW": ("gigawatt", "gigawatts"), "kWh": ("kilowatt hour", "kilowatt hours"),
    "Wh": ("watt hour", "watt hours"), "mAh": ("milliampere hour", "milliampere hours"), "V": ("volt", "volts"),
    "kV": ("kilovolt", "kilovolts"), "mV": ("millivolt", "millivolts"), "mA": ("milliampere", "milliamperes"),
    "Ω": ("ohm", "ohms"), "dB": ("decibel", "decibels"), "Pa": ("pascal", "pascals"), "kPa": ("kilopascal", "kilopascals"),
    "hPa": ("hectopascal", "hectopascals"), "MPa": ("megapascal", "megapascals"), "psi": ("PSI", "PSI"),
    "kN": ("kilonewton", "kilonewtons"), "kJ": ("kilojoule", "kilojoules"), "cal": ("calorie", "calories"),
    "kcal": ("kilocalorie", "kilocalories"), "mol": ("mole", "moles"), "ha": ("hectare", "hectares"),
    "px": ("pixel", "pixels"), "MP": ("megapixel", "megapixels"), "hp": ("horsepower", "horsepower"), "ppm": ("part per million", "parts per million"),
    "°C": ("degree Celsius", "degrees Celsius"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "°K": ("kelvin", "kelvins"),
    "°": ("degree", "degrees"), "º": ("degree", "degrees"), "dpi": ("DPI", "DPI"),
}  # fmt: skip
_LENGTHS = ("km", "m", "cm", "mm", "ft", "mi", "yd", "in")
for _length in _LENGTHS:
    _one, _many = _MEASURES.get(_length, ("inch", "inches"))
    for _mark in ("²", "^2", "2"):
        _MEASURES[_length + _mark] = (f"square {_one}", f"square {_many}")
    for _mark in ("³", "^3", "3"):
        _MEASURES[_length + _mark] = (f"cubic {_one}", f"cubic {_many}")
_MEASURES |= dict.fromkeys(("m/s²", "m/s^2", "m/s2"), ("meter per second squared", "meters per second squared"))
_MEASURES |= {"sq ft": _MEASURES["ft²"], "sq m": _MEASURES["m²"], "sq km": _MEASURES["km²"], "sq mi": _MEASURES["mi²"]}
_MEASURE = alternatives(unit for unit in _MEASURES if unit != "B")
_PER = "second|sec|minute|min|hour|hr|day|week|wk|month|mo|year|yr|person|people|night|unit|piece|user|liter|pound|token|tokens|capita"
_PER_OF = {"sec": "second", "min": "minute", "hr": "hour", "wk": "week", "mo": "month", "yr": "year"}


def _measure(match: re.Match[str]) -> str:
    groups = match.groupdict()
    one, many = _MEASURES[groups["unit"]]
    amount, until = groups["amount"], groups["until"]
    until_words = _signed("-" if until[0] in "-−" else None, number(until.lstrip("-−"))) if until else ""
    words = _signed(groups["sign"], number(amount)) + (f" to {until_words}" if until else "")
    words += f" {one if amount == '1' and not until else many}"
    if groups["per"]:
        per = groups["per"]
        words += f" per {_MEASURES[per][0] if per in _MEASURES else _PER_OF.get(per, per)}"
    return _spaced(match, words)


def _percent(match: re.Match[str]) -> str:
    unit = {"%": "percent", "‰": "per mille", "‱": "per ten thousand"}[match["unit"]]
    words = _signed(match["sign"], number(match["amount"]))
    if match["until"]:
        words += f" to {number(match['until'])}"
    return _spaced(match, f"{words} {unit}")


_PLACE = re.compile(r"\b(?:Room|Apt\.?|Apartment|Unit|Suite|Flat|Seat|Row|Gate|gate|seat|room|Exit|exit|Building) $")


def _scaled(match: re.Match[str]) -> str | None:
    following = re.match(r" (run|race|TV|video|display|resolution|monitor|screen|tape)\b", match.string[match.end() :])
    if (
        match[0] in ("4K", "8K", "2K", "3M")
        or following
        or _PLACE.search(match.string[: match.start()])
        or (match[2] in "mb" and "." not in match[1])
    ):
        return None
    return _spaced(match, f"{number(match[1])} {_SCALE_OF[match[2]]}")


def _fraction(match: re.Match[str]) -> str | None:
    whole, above, below = match["whole"], int(match["above"]), int(match["below"])
    is_mixed = whole and 0 < above < below and match["below"][0] != "0" and len(match["below"]) < 4
    if whole and not is_mixed:
        return f"{number(whole)} {_part(match, above, below)}"
    if whole:
        return f"{number(whole)} and {'a' if above == 1 else cardinal(above)} {_parts(above, below)}"
    return _part(match, above, below)


def _part(match: re.Match[str], above: int, below: int) -> str:
    if match["below"][0] == "0" or len(match["above"]) > 4 or len(match["below"]) > 4:
        return f"{number(match['above'])} slash {number(match['below'])}"
    if (above, below) in ((24, 7), (9, 11), (50, 50)):
        return f"{cardinal(above)} {cardinal(below)}"
    rated = re.search(r"\b(rat(ed|ing)|scored?|grade)[\s:]*(\w+\s)?$", match.string[: match.start()])
    if rated or re.match(r"\s?(stars?|points?)\b", match.string[match.end() :]) or above == below:
        return f"{number(match['above'])} out of {cardinal(below)}"
    if below == 1 or (above >= below and below > 10):
        return f"{number(match['above'])} over {cardinal(below)}"
    return f"{number(match['above'])} {_parts(above, below)}"


def _parts(above: int, below: int) -> str:
    """The name of one of `below` equal parts, or of `above`."""
    named = {2: "half", 4: "quarter"}.get(below) or ordinal(below)
    return named if above == 1 else "halves" if below == 2 else f"{named}s"


def _ratio(match: re.Match[str]) -> str | None:
    first, second = match[1], match[2]
    is_time = len(second) == 2 and int(second) < 60 and int(first) <= 24 and len(first) <= 2
    asked = re.search(
        r"\b(ratio|scale|odds|score[ds]?|won|lost|beat|win|aspect|mix|by|led|tied|result)\b[^.!?\d]{0,20}$",
        match.string[: match.start()],
    )
    after = re.match(
        r"\s(ratio|scale|odds|aspect|mix|win|loss|victory|lead|screen|format)\b", match.string[match.end() :]
    )
    return f"{number(first)} to {number(second)}" if not is_time or asked or after else None


def _power(match: re.Match[str]) -> str:
    base, power = match["base"], match["power"]
    if power in ("²", "^2"):
        return f"{base} squared"
    if power in ("³", "^3"):
        return f"{base} cubed"
    return f"{base} to the power of {'minus ' if '-' in power or '−' in power else ''}{power.lstrip('^').strip('()-−')}"


def _model(match: re.Match[str]) -> str:
    return f"{match[1]} {model(match[2])}" + (" " if match.string[match.end() : match.end() + 1].isalpha() else "")


def _roman(match: re.Match[str]) -> str | None:
    value = roman_value(match[2])
    return None if value is None else f"{match[1]}{cardinal(value)}"


def _regnal(match: re.Match[str]) -> str | None:
    value = roman_value(match[2])
    return None if value is None else f"{match[1]}the {ordinal(value)}"


def _minus(match: re.Match[str]) -> str:
    return f"minus {number(match[1])}"


_ITEM_MARK = r"(?m)^(\d{1,3})[.)] (?=\S)"

_FIGURES = r"(?<![A-Za-z0-9.,])"
_CLOCK_TIME = r"\d{1,2}(?::\d{2}){0,2}(?:\s?[AaPp]\.?[Mm]\b\.?)?"
_SIGN_WORDS = {
    "π": "pi", "∞": "infinity", "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees", "@": "at", "²": "squared",
    "³": "cubed", "$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "©": "copyright",
}  # fmt: skip
RULES: tuple[Rule, ...] = (
    rule("address", ADDRESS, _address),
    rule("address, internet", IP_ADDRESS, _ip),
    rule("numbered, letters", r"(?<![\w&#])#(?=[A-Za-z]{1,2}\d)", lambda match: "number "),
    rule("hashtag", r"(?<![\w&#])#(?=[^\W\d_])", lambda match: "hashtag "),
    rule("sharp", r"\b([CFG])#(?!\w)", lambda match: f"{match[1]} sharp"),
    rule("C++", r"\b([A-Za-z]\w*)\+\+", lambda match: f"{match[1]} plus plus"),
    rule("mention", r"(?<![\w.])@(?=\w)", lambda match: "at "),
    rule("item", _ITEM_MARK, lambda match: f"{number(match[1])}, "),
    rule("card", CARD, lambda match: _grouped(match[0])),
    rule("24/7/365", r"\b24/7/365\b", lambda match: "twenty four seven three sixty five"),
    # dates
    rule(
        "date, year first",
        rf"{_FIGURES}({_YEARS})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?![\d/]|[-.]\d)",
        lambda m: _day_of(m[3], m[4], m[1]),
    ),
    rule("date, year last", rf"{_FIGURES}(\d{{1,2}})([-/.])(\d{{1,2}})\2({_YEARS})(?![\d/]|[-.]\d)", _date_by_month),
    rule(
        "date, short year",
        rf"{_FIGURES}(\d{{1,2}})(/)(\d{{1,2}})/(\d{{2}})(?![\d/]|\.\d)",
        lambda m: _day_of(m[1], m[3], _century(m[4])) or _day_of(m[3], m[1], _century(m[4])),
    ),
    rule(
        "date, run together",
        r"(?<![\w.,])(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![\w,]|\.\d)",
        lambda match: digits(match[0]),
    ),
    rule("date, T", r"(?<=[a-z])T(?=\d{2}:\d{2})", lambda match: ", "),
    rule(
        "date, on",
        r"(?<=\b[Oo]n )(\d{1,2})/(\d{1,2})(?![\d/])",
        lambda match: _day_of(match[1], match[2]) or _day_of(match[2], match[1]),
    ),
    rule(
        "month and day",
        rf"\b(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s?{DASH}\s?(?P<until>\d{{1,2}})(?:st|nd|rd|th)?)?(?![\d:]|[.,]\d{{1,3}}(?!\d))(?:,? (?P<year>{_YEARS})(?!\d))?",
        _month_day,
    ),
    rule(
        "day and month",
        rf"(?<![\d.,:/-])(?P<the>[Tt]he )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s?{DASH}\s?(?P<until>\d{{1,2}})(?:st|nd|rd|th)?)?(?: of)? (?P<month>{_MONTH})(?:,? (?P<year>{_YEARS})(?!\d))?(?![a-z])",
        _day_month,
    ),
    rule("month and year", rf"\b({_MONTH}),? ({_YEARS})(?!\d)", lambda match: f"{_named(match[1])} {year(match[2])}"),
    # numbers said digit by digit
    rule("phone", PHONE, lambda match: _grouped(match[0])),
    rule(
        "called",
        rf"(?i)\b({_CALLED})((?:\s(?:me|us|number|at|on|is|no\.?)){{0,4}}[\s:]{{0,4}})(\d[\d -]{{1,18}}\d)(?![\w:%/]|[.,]\d|\s?(?:times|minutes|seconds|people|[ap]\.?m))",
        lambda match: f"{match[1]}{match[2]}{_grouped(match[3])}",
    ),
    rule(
        "numbered",
        rf"(?i)\b({_LONG_NUMBER_OF})((?:\s(?:number|no\.?|code|id|is)){{0,4}}\s?[:=]?\s?#?)(\d[\d-]{{1,22}}\d)(?![\w:%/]|[.,]\d)",
        lambda match: f"{match[1]}{match[2].replace('#', ' number ').replace('  ', ' ')}{_grouped(match[3])}",
    ),
    rule("version", VERSION, _version),
    rule(
        "version, named",
        r"(?i)\b(version|release|python|node|ios|android|ubuntu|java|cuda|pytorch|chapter|section|figure|table)( )(\d+(?:\.\d+)+)(?!\d)",
        lambda match: f"{match[1]} {' point '.join(number(part) for part in match[3].split('.'))}",
    ),
    # times
    rule("ratio", rf"{_FIGURES}(?<!:)(\d{{1,4}})\s?:\s?(\d{{1,7}})(?![\d:]|[.,]\d)(?!\s?[ap]\.?m)", _ratio),
    rule(
        "times, range",
        rf"(?<![\d:.,-])({_CLOCK_TIME})\s?{DASH}\s?(?=\d{{1,2}}:\d{{2}})",
        lambda match: f"{match[1]} to " if ":" in match[1] or "m" in match[1].lower() else None,
    ),
    rule("hours, range", rf"(?<![\d:.,-])(\d{{1,2}})\s?{DASH}\s?(\d{{1,2}}){_HALF}", _hours),
    rule(
        "hours, range of halves",
        rf"(?<![\d:.,-])(\d{{1,2}}\s?[AaPp]\.?[Mm]\.?)\s?{DASH}\s?(?=\d{{1,2}}\s?[AaPp]\.?[Mm])",
        lambda match: f"{match[1]} to ",
    ),
    rule("time", rf"(?<![\d:.,])(\d{{1,2}}):(\d{{2}})(?::(\d{{2}}))?(?![\d:]){_HALF}?", _time),
    rule(
        "duration",
        r"(?<![\d:.,])(\d+):(\d{2}):(\d{2})(?![\d:])",
        lambda m: f"{number(m[1])} hours {cardinal(int(m[2]))} minutes {cardinal(int(m[3]))} seconds",
    ),
    rule(
        "ratio of three",
        r"(?<![\d:.,])(\d{1,3}):(\d{1,3}):(\d{1,3})(?![\d:])",
        lambda match: " to ".join(map(number, match.groups())),
    ),
    rule("hour", rf"(?<![\d:.,-])(\d{{1,2}}){_HALF}", _hour),
    # amounts
    rule("money, no whole", r"(?<=[$€£])\.(?=\d)", lambda match: "0."),
    rule("money, sign inside", r"([$€£¥])\s?[-−](?=\d)", lambda match: f"-{match[1]}"),
    rule(
        "money",
        rf"(?<![A-Za-z])(?P<sign>{MINUS}|(?<!\S)[-−])?(?!¢)(?P<currency>{_CURRENCY})\s?(?P<amount>{NUMBER})(?:\s?{DASH}\s?(?:{_CURRENCY})?(?P<until>{NUMBER}))?{_SCALE}",
        _money,
    ),
    rule(
        "money, after",
        rf"(?<![\w.,])(?P<sign>{MINUS})?(?P<amount>{NUMBER})(?:\s?{DASH}\s?(?P<until>{NUMBER}))?{_SCALE}\s?(?P<currency>{_CURRENCY})(?![A-Za-z0-9])",
        _money,
    ),
    rule(
        "percent",
        rf"(?<![\d.,])(?P<sign>{MINUS})?(?P<amount>{NUMBER})\s?[%‰‱]?(?:\s?{DASH}\s?(?P<until>{NUMBER}))?\s?(?P<unit>[%‰‱])",
        _percent,
    ),
    rule(
        "feet and inches",
        r"(?<![\w.])(\d)['′] ?(\d{1,2})(?:[\"″”]|'')",
        lambda match: f"{number(match[1])} foot {number(match[2])}",
    ),
    rule(
        "inches",
        rf"(?<![\w.,])({NUMBER})(?:[″]|\"(?= (?:screen|display|monitor|TV|pipe|pizza|tablet|laptop))|in(?![A-Za-z]))",
        lambda match: f"{number(match[1])} inch" + ("" if match[1] == "1" or match[0].endswith('"') else "es"),
    ),
    rule(
        "degrees and minutes",
        r"(?<![\d.,])(\d{1,3})° ?(\d{1,2})['′]",
        lambda match: _spaced(match, f"{number(match[1])} degrees {number(match[2])} minutes"),
    ),
    rule("decade", r"(?<![\w.,$])'?(\d{2}[1-9]0|\d{2}00|[1-9]0)'?s(?![A-Za-z0-9])", _decade),
    rule(
        "by",
        rf"(?<![\w.])({NUMBER})\s?[x×*]\s?({NUMBER})(?:\s?[x×*]\s?({NUMBER}))?(?=\s?(?:{_MEASURE})(?![A-Za-z0-9]))",
        lambda m: (
            " by ".join(number(part) for part in m.groups()[:-1] if part) + (f" by {m[3]}" if m[3] else "")
            if m[3]
            else f"{number(m[1])} by {m[2]}"
        ),
    ),
    rule(
        "measure",
        rf"(?<![\d.,])(?<![\d]/)(?P<sign>{MINUS})?(?<![A-Za-z])(?P<amount>{NUMBER})(?:\s?(?:{_MEASURE})?\s?(?:{DASH}|to)\s?(?P<until>[-−]?{NUMBER}))?[\s-]?(?P<unit>{_MEASURE})(?:/(?P<per>{_MEASURE}|{_PER}))?(?![A-Za-z0-9²³/'’])",
        _measure,
    ),
    rule("scaled", rf"(?<![\w.,-])({NUMBER})({alternatives(_SCALE_OF)})(?![A-Za-z0-9])", _scaled),
    rule("per", rf"(?<=[a-z])\s?/\s?({_PER})\b", lambda match: f" per {_PER_OF.get(match[1], match[1])}"),
    # kinds of numbers
    rule("ordinals, range", rf"(?<=\d(?:st|nd|rd|th))\s?{DASH}\s?(?=\d+(?:st|nd|rd|th))", lambda match: " to "),
    rule(
        "ordinal",
        r"(?<![\w.])(\d{1,15}|\d{1,3}(?:,\d{3})+)(?:st|nd|rd|th)(?![A-Za-z0-9])",
        lambda match: ordinal(int(match[1].replace(",", ""))),
    ),
    rule("number of", r"(?:#|\b[Nn]o\. ?|\b[Nn]os\. ?)(\d+)(?![\w])", lambda match: f"number {number(match[1])}"),
    rule(
        "regnal",
        r"\b((?:King|Queen|Pope|Henry|Louis|Elizabeth|Charles|George|Edward|Richard|James|William|Philip|Napoleon|Catherine|Alexander|Nicholas|Benedict|Pius|Paul|Francis|Leo|Frederick|Wilhelm|Ramses|Mary) (?:[A-Z][a-z]+ )?)([IVX]{1,6})(?![\w'])",
        _regnal,
    ),
    rule("Roman, WW", r"\bWW(I{1,2})\b", lambda match: f"WW {cardinal(len(match[1]))}"),
    rule(
        "Roman",
        r"\b((?:World War|War|Chapter|Part|Volume|Book|Act|Scene|Section|Article|Phase|Type|Class|Level|Stage|Title|Appendix|Table|Figure|Grade|Mark|Episode|Season|Super Bowl|Rocky|Final Fantasy|Apollo|Vatican|Schedule|Unit|Step) )([IVXLC]{1,8})(?![\w'])",
        _roman,
    ),
    rule(
        "years, range",
        rf"{_FIGURES}(?<![-–])({_YEARS})\s?{DASH}\s?({_YEARS}|\d{{2}})(?![\d.,%-]*\d)(?!\s?=)",
        _year_range,
    ),
    rule(
        "years, slash",
        rf"{_FIGURES}({_YEARS})/(\d{{2}})(?![\d/]|\.\d)",
        lambda m: _year_range(m) if (int(m[1]) + 1) % 100 == int(m[2]) else None,
    ),
    rule("model, hyphen", r"(?<![\w.-])([A-Za-z]+)-(\d{1,6})(?![\d.,:/-]*\d)", _model),
    rule("model", r"(?<![\w.'])([A-Za-z]+)(\d{1,6})(?![\d,:/]|\.\d)", _model),
    rule(
        "model, named",
        r"\b(RTX|GTX|RX|Boeing|Airbus|Route|Highway|Interstate|Flight|Room|Suite|Apartment|Apt|Peugeot|Porsche|Studio|HTTP|Error|error|status|Room|room) (\d{3,4})(?!\d|[.,]\d)",
        _model,
    ),
    # arithmetic
    rule(
        "power of ten",
        rf"{_FIGURES}(?<![A-Za-z])(\d+(?:\.\d+)?)[eE]([+-]?\d{{1,3}})(?![\w.])",
        lambda m: f"{number(m[1])} times ten to the {'minus ' if '-' in m[2] else ''}{number(m[2].lstrip('+-'))}",
    ),
    rule(
        "power",
        r"(?P<base>\b[A-Za-z]|\b\d+|\))(?P<power>[²³]|\^\(?[-−]?\w{1,6}\)?|\*\*\d{1,4})(?!\w)",
        lambda m: _power(m) if not m["power"].startswith("*") else f"{m['base']} to the power of {m['power'][2:]}",
    ),
    rule("root", r"√\s?", lambda match: "square root of "),
    rule(
        "by, large",
        r"(?<![\w.])(\d{3,5})\s?[x×*]\s?(\d{3,5})(?![\w.])",
        lambda match: f"{number(match[1])} by {number(match[2])}",
    ),
    rule("by, letter", r"(?<=\d)x(?=\d)", lambda match: " by "),
    rule("times, letter", r"(?<=\d) x (?=\d)", lambda match: " times "),
    rule("fold", rf"(?<![\w.])({NUMBER})[x×](?!\w)(?!\s?\d)", lambda match: f"{number(match[1])} times"),
    rule(
        "minus, equation",
        r"(?<=[\d)\w])\s?[-−–]\s?(?=\d[\d.,]*\s?=)|(?<=[\w)]) [-−] (?=\d)|(?<=\d)−(?=\d)",
        lambda match: " minus ",
    ),
    rule(
        "times",
        r"(?<=[\w)])\s?[×·∙]\s?(?=[\w(√])|(?<=\d)\s?\*\s?(?=[\d(])|(?<=[\w)]) \* (?=[\w(])",
        lambda match: " times ",
    ),
    rule("divided", r"\s?÷\s?|(?<=\d) / (?=\d)", lambda match: " divided by "),
    rule("plus or minus", r"\s?(?:±|\+/-)\s?", lambda match: " plus or minus "),
    rule(
        "plus",
        r"(?<=[\w)²³])\s?\+\s?(?=[\w(√])|(?<![\w)])\+(?=\d)",
        lambda match: " plus " if match.start() else "plus ",
    ),
    rule("plus, more", r"(?<=\d)\+(?!\w)", lambda match: " plus"),
    rule("at most", r"\s?(?:≤|<=)\s?", lambda match: " less than or equal to "),
    rule("at least", r"\s?(?:≥|>=)\s?", lambda match: " greater than or equal to "),
    rule("unequal", r"\s?(?:≠|!=)\s?", lambda match: " not equal to "),
    rule("arrow", r"\s?(?:->|=>|→|⇒)\s?", lambda match: " to "),
    rule(
        "less",
        r"(?<=[\w)])\s?<\s?(?=[\w(-])|(?<!\S)<\s?(?=\d)",
        lambda match: " less than " if match.start() else "less than ",
    ),
    rule(
        "greater",
        r"(?<=[\w)])\s?>\s?(?=[\w(-])|(?<!\S)>\s?(?=\d)",
        lambda match: " greater than " if match.start() else "greater than ",
    ),
    rule("equals", r"(?<=[\w)])\s?={1,3}\s?(?=[\w(?√$-]|$)", lambda match: " equals "),
    rule("about", r"\s?≈\s?|(?<![\w~])~\s?(?=[\d$])", lambda match: " approximately " if "≈" in match[0] else "about "),
    rule(
        "fraction",
        r"(?<![\w.,/])(?:(?P<whole>\d{1,4})[ -])?(?P<above>\d{1,9})/(?P<below>\d{1,9})(?![\d/]|\.\d)",
        _fraction,
    ),
    # what is left
    rule(
        "range",
        rf"(?<![\w.,-])(\$?{NUMBER})(?:{DASH}|\s[–—~～]\s)({NUMBER})(?![\w-]|[.,]\d)",
        lambda match: f"{number(match[1])} to {number(match[2])}",
    ),
    rule("decimals alone", r"(?<![\w.])\.(\d+)(?!\.?\w)", lambda match: f"point {digits(match[1])}"),
    rule("minus", rf"{MINUS}\s?({NUMBER})", _minus),
    rule(
        "year, after a word",
        rf"(?i)\b((?:in|by|of|since|from|until|before|after|around|year|circa) )({_YEARS})(?!\w|[.,-]\d|\s(?:people|men|women|children|[a-z]+s)\b)",
        lambda match: f"{match[1]}{year(match[2])}",
    ),
    rule("year", r"(?<![\w.,$])(?:19|20)\d{2}(?!\w|[.,]\d)", _bare_year),
    rule("number", NUMBER, lambda match: _spaced(match, number(match[0]))),
    rule("point", r"(?<!\w)\.(?=(?:zero|one|two|three|four|five|six|seven|eight|nine|ten)\b)", lambda match: "point "),
    rule("and", r"(?<=\w)\s?&{1,2}\s?(?=\w)", lambda match: " and "),
    rule("percent sign", r"(?<=\w)\s?%", lambda match: " percent"),
    rule(
        "signs",
        r"π|∞|(?<=\w) ?°C\b|(?<=\w) ?°F\b|°|@(?=\w)|(?<=\w)[²³]|\$(?=\w)|€|£|¥|©",
        lambda match: f" {_SIGN_WORDS[match[0].strip()]} ",
    ),
    rule("superfluous", r"[*_`^|\\~#<>{}]+", lambda match: " "),
)
_ANYTHING = re.compile(r"[^\w\s.,!?;:'\"()-]|[²³]|\d|[IVX]{2}|_|\w\.\w")


def english(text: str) -> str:
    """`text`, plain (see `plain.py`), with its numbers and signs in words."""
    if not _ANYTHING.search(text) and " V" not in text and " I" not in text:
        return text
    return re.sub(r"[^\S\n]+", " ", re.sub(r"[^\S\n]+(?=[,.;:!?](?:\s|$))", "", applied(text, RULES))).strip()
