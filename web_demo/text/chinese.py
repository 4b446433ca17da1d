"""Numbers, dates, amounts and signs as Chinese words (Mandarin, simplified). Pure; some tens of microseconds a sentence.

Names in Latin letters keep their letters and hyphens and have their numbers in Chinese; 1 is 幺 in numbers of telephones, as
people say it.
"""

from __future__ import annotations

import re

from web_demo.text.chinese_numbers import cardinal, digits, number, quantity, year
from web_demo.text.rules import (
    ADDRESS,
    CARD,
    DASH,
    IP_ADDRESS,
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

# A sign after what has a value; after other characters it belongs to a name, as in 东风-41.
MINUS = r"(?:(?<![\w)\].,%°′″])[-−–](?=[\d.$€£¥])|(?<=[为是到至约达温度分值于在降跌差率负])[-−](?=\d))"


def _signed(sign: str | None, words: str) -> str:
    return f"负{words}" if sign else words


# --- addresses, and what is said digit by digit -----------------------------------------------------------------------

_SIGNS = {
    ".": "点", "/": "斜杠", "-": "杠", "_": "下划线", "@": "艾特", ":": "冒号", "?": "问号", "=": "等于", "&": "和", "#": "井号",
    "%": "百分号", "+": "加", "~": "波浪号", "\\": "反斜杠", ",": "逗号", ";": "分号", "!": "感叹号", "*": "星号", "'": "撇", "$": "美元符",
}  # fmt: skip
_LONG_NUMBER_OF = (
    "验证码|密码|尾号|编号|学号|工号|订单号?|单号|卡号|账号|帐号|户号|邮编|邮政编码|QQ号?|群号|微信号?|房间号?|房号|车牌号?|车次|航班号?|"
    "身份证号?码?|护照号?码?|证件号?码?|序列号|流水号|口令|代码|股票代码|机号|门牌号?|ID|id|PIN|pin|单据|发票号?码?|合同号|会员号|号码|货号|条码"
)
_CALLED = "电话|手机|热线|拨打|拨|致电|传真|座机|客服|专线|联系方式|打|呼叫|Tel|TEL|tel"


def _address(match: re.Match[str]) -> str:
    return spelt(SCHEME.sub("", match[0]), _SIGNS, digits, "")


def _called(figures: str) -> str:
    return ("加" if figures.startswith("+") else "") + digits(figures, "幺")


def _phone(match: re.Match[str]) -> str:
    return _called(match[0])


def _ip(match: re.Match[str]) -> str | None:
    if any(int(part) > 255 for part in match.group(1, 2, 3, 4)):
        return None
    words = "点".join(digits(part) for part in match.group(1, 2, 3, 4))
    return (
        words
        + (f"冒号{digits(match[5])}" if match[5] else "")
        + (f"斜杠{cardinal(int(match[6][1:]))}" if match[6] else "")
    )


def _version(match: re.Match[str]) -> str:
    parts = (match[2] or match[4]).split(".")
    words = "点".join(number(part) if len(part) < 3 else digits(part) for part in parts)
    return (match[1] or match[3] or "").rstrip(". ") + words


# --- dates and times --------------------------------------------------------------------------------------------------

_YEARS = "(?:1[0-9]|20)[0-9]{2}"


def _date(match: re.Match[str]) -> str | None:
    month, day = int(match[3]), int(match[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{year(match[1])}年{cardinal(month)}月{cardinal(day)}日"


def _date_by_month(match: re.Match[str]) -> str | None:
    first, second = int(match[1]), int(match[3])
    month, day = (first, second) if first <= 12 else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{year(match[4])}年{cardinal(month)}月{cardinal(day)}日"


def _clock(hour: str, minute: str, second: str | None) -> str | None:
    if int(hour) > 24 or int(minute) > 59 or int(second or 0) > 59:
        return None
    words = f"{'两' if int(hour) == 2 else cardinal(int(hour))}点"
    if minute != "00" or (second and second != "00"):
        words += ("零" if minute[0] == "0" and minute != "00" else "") + f"{cardinal(int(minute))}分"
    return words + (f"{'零' if second[0] == '0' else ''}{cardinal(int(second))}秒" if second and second != "00" else "")


_HALF = r"(?:\s?([AaPp])\.?[Mm]\b\.?)"


def _half(hour: str, half: str) -> str:
    if half in "aA":
        return "上午"
    if int(hour) == 12:
        return "中午"
    return "晚上" if int(hour) >= 6 else "下午"


def _time(match: re.Match[str]) -> str | None:
    words = _clock(match[1], match[2], match[3])
    return None if words is None else (_half(match[1], match[4]) if match[4] else "") + words


def _hour(match: re.Match[str]) -> str | None:
    if not 1 <= int(match[1]) <= 12:
        return None
    return _half(match[1], match[2]) + ("两" if int(match[1]) == 2 else cardinal(int(match[1]))) + "点"


def _ratio(match: re.Match[str]) -> str | None:
    first, second = match[1], match[2]
    is_time = len(second) == 2 and int(second) < 60 and int(first) <= 24 and len(first) <= 2
    before, after = match.string[: match.start()], match.string[match.end() :]
    asked = re.search(
        r"(比分|比例|比率|比值|战胜|击败|大胜|取胜|险胜|不敌|负于|输给|以|总分|领先|落后|战平|配比|赔率|屏幕|画面|宽高|尺寸)[^。！？\d]{0,8}$",
        before,
    )
    counted = re.match(
        r"\s?(的?(比例|比分|比率|屏幕|画面|画幅|战胜|击败|大胜|取胜|获胜|险胜|领先|落后|不敌|逆转))", after
    )
    return f"{number(first)}比{number(second)}" if not is_time or asked or counted else None


def _decade(match: re.Match[str]) -> str:
    figures = match[1]
    return (cardinal(int(figures)) if len(figures) == 2 else year(figures)) + "年代"


def _years(match: re.Match[str]) -> str:
    return f"{year(match[1])}{match[2]}"


# --- amounts ----------------------------------------------------------------------------------------------------------

_MONEY = {
    "$": "美元", "US$": "美元", "USD": "美元", "€": "欧元", "EUR": "欧元", "£": "英镑", "GBP": "英镑", "¥": "元", "CN¥": "元", "CNY": "元",
    "RMB": "元", "₹": "卢比", "INR": "卢比", "₩": "韩元", "KRW": "韩元", "₽": "卢布", "₿": "比特币", "BTC": "比特币", "฿": "泰铢", "₫": "越南盾",
    "HK$": "港元", "HKD": "港元", "NT$": "新台币", "TWD": "新台币", "JP¥": "日元", "JPY": "日元", "A$": "澳元", "AUD": "澳元", "C$": "加元",
    "CAD": "加元", "S$": "新加坡元", "SGD": "新加坡元", "CHF": "瑞士法郎", "¢": "美分",
}  # fmt: skip
_CURRENCY = alternatives(_MONEY)
_SCALE_OF = {
    "thousand": "千",
    "million": "百万",
    "billion": "十亿",
    "trillion": "万亿",
    "k": "千",
    "K": "千",
    "M": "百万",
    "m": "百万",
    "B": "十亿",
    "b": "十亿",
    "w": "万",
    "W": "万",
}
_SCALE = r"(?P<scale>\s?(?:[十百千]?[万亿]亿?|[百千])|(?P<short>[kKMmBbwW])(?![A-Za-z0-9])|\s?(?P<word>thousand|million|billion|trillion)(?![a-z]))?"


def _scaled_amount(amount: str, scale: str | None, short: str | None) -> str:
    if not short:
        words = ("两" if amount == "2" and scale else number(amount)) if scale else number(amount)
        return words + (scale or "").strip()
    factor = {"千": 10**3, "百万": 10**6, "十亿": 10**9, "万": 10**4, "万亿": 10**12}[_SCALE_OF[short]]
    whole, _, decimals = amount.replace(",", "").partition(".")
    if len(decimals) <= 3 and len(whole) <= 6:
        return cardinal(int(whole) * factor + int(decimals or 0) * factor // 10 ** len(decimals))
    return number(amount) + _SCALE_OF[short]


def _money(match: re.Match[str]) -> str:
    groups = match.groupdict()
    words = (
        _scaled_amount(groups["amount"], groups["scale"], groups["short"] or groups["word"])
        if not groups["until"]
        else number(groups["amount"])
    )
    if groups["until"]:
        words += f"到{_scaled_amount(groups['until'], groups['scale'], groups['short'])}"
    named = _MONEY[groups["currency"]]
    rest = match.string[match.end() :]
    if named == "元" and re.match(r"\s?(元|块|人民币)", rest):
        named = ""  # ¥100元
    return _signed(groups["sign"], words + named)


_MEASURES = {
    "km": "公里", "KM": "公里", "m": "米", "dm": "分米", "cm": "厘米", "CM": "厘米", "mm": "毫米", "μm": "微米", "nm": "纳米", "mi": "英里",
    "ft": "英尺", "in": "英寸", "yd": "码", "kg": "公斤", "KG": "公斤", "Kg": "公斤", "g": "克", "mg": "毫克", "μg": "微克", "t": "吨",
    "lb": "磅", "lbs": "磅", "oz": "盎司", "L": "升", "l": "升", "mL": "毫升", "ml": "毫升", "ML": "毫升", "cc": "毫升", "s": "秒", "sec": "秒",
    "ms": "毫秒", "μs": "微秒", "ns": "纳秒", "min": "分钟", "mins": "分钟", "h": "小时", "hr": "小时", "hrs": "小时", "d": "天",
    "mph": "英里每小时", "kph": "公里每小时", "rpm": "转每分钟", "fps": "帧每秒", "bpm": "次每分钟", "Hz": "赫兹", "kHz": "千赫兹",
    "MHz": "兆赫兹", "GHz": "吉赫兹", "W": "瓦", "kW": "千瓦", "MW": "兆瓦", "kWh": "千瓦时", "V": "伏", "kV": "千伏", "mV": "毫伏",
    "mA": "毫安", "mAh": "毫安时", "A": "安", "Ω": "欧姆", "dB": "分贝", "Pa": "帕", "kPa": "千帕", "hPa": "百帕", "MPa": "兆帕",
    "N": "牛", "J": "焦耳", "kJ": "千焦", "cal": "卡", "kcal": "千卡", "mol": "摩尔", "ha": "公顷", "px": "像素", "mu": "亩", "hp": "马力", "mmol": "毫摩尔",
    "m/s²": "米每二次方秒", "m/s^2": "米每二次方秒", "m/s2": "米每二次方秒",
    "°C": "摄氏度", "°F": "华氏度", "°": "度", "º": "度", "bps": "比特每秒", "kbps": "千比特每秒", "Mbps": "兆比特每秒", "Gbps": "吉比特每秒",
    "GB": "GB", "MB": "MB", "TB": "TB", "KB": "KB", "kB": "KB", "PB": "PB", "GiB": "GiB", "MiB": "MiB",
}  # fmt: skip
for _length, _named in (("km", "公里"), ("m", "米"), ("cm", "厘米"), ("mm", "毫米"), ("dm", "分米"), ("ft", "英尺")):
    _MEASURES |= {_length + mark: f"平方{_named}" for mark in ("²", "^2", "2")}
    _MEASURES |= {_length + mark: f"立方{_named}" for mark in ("³", "^3", "3")}
_MEASURE = alternatives(_MEASURES)
_PER = {"s": "秒", "h": "小时", "min": "分钟", "d": "天"}
# What two of are 两, among the words that are counted.
_COUNTED = (
    "个|只|本|条|张|位|名|次|天|年(?!级|代|月)|岁|小时|分钟|秒|周|星期|礼拜|件|块|元|台|辆|套|座|间|家|种|类|份|杯|瓶|碗|把|根|颗|支|双|对|群|批|"
    "米|公里|千米|厘米|毫米|英里|英尺|公斤|千克|斤|吨|升|毫升|克|平方|立方|倍|点(?!\\d)|万|亿|千|人|口|层|边|步|者|国|地|会|室|厅|卫|头|匹|朵|片|段|篇|首|句|"
    "门|所|场|届|轮|局|盘|遍|趟|顿|棵|株|粒|滴|幅|面|栋|幢|艘|架|封|部|集|章|节|页|行|代|秒钟|分半|刻钟|美元|欧元|英镑|颗|罐|箱|袋|包|盒|听|则|项|组|队|"
    "成|半|样|下|手|脚|岸|侧|端|极|旁|车|床|桌|件|款|票|分之|摄氏度"
)


def _measure(match: re.Match[str]) -> str | None:
    groups = match.groupdict()
    unit, until, amount = groups["unit"], groups["until"], groups["amount"]
    is_apart = match.string[match.end() - len(unit) - 1] == " "
    followed = re.match(r"[\u4e00-\u9fff]", match.string[match.end() :])
    if unit in ("A", "N", "d", "J", "t", "in") and (is_apart or followed):
        return None  # neither 5 A in running text nor 5A景区 is a current
    named = _MEASURES[unit]
    words = f"{number(amount)}到{_ended(until)}" if until else number(amount) if unit[0] in "°º" else quantity(amount)
    words = _signed(groups["sign"], words) + named
    if groups["per"]:
        words += f"每{_PER.get(groups['per']) or _MEASURES.get(groups['per'], groups['per'])}"
    return words


def _ended(figures: str) -> str:
    return f"负{number(figures[1:])}" if figures[0] in "-−" else number(figures)


def _percent(match: re.Match[str]) -> str:
    part = {"%": "百分之", "‰": "千分之", "‱": "万分之"}[match["unit"]]
    words = _signed(match["sign"], part + ("百" if match["amount"] == "100" else number(match["amount"])))
    return words + (f"到{part}{number(match['until'])}" if match["until"] else "")


def _fraction(match: re.Match[str]) -> str:
    whole, above, below = match["whole"], match["above"], match["below"]
    if not whole and (above, below) == ("24", "7"):
        return "二十四七"
    if whole and (below[0] == "0" or int(above) >= int(below)):
        return f"{number(whole)} {number(above)}斜杠{number(below)}"
    if below[0] == "0" or (int(above) >= int(below) and int(below) > 10):
        return f"{number(above)}斜杠{number(below)}"
    words = f"{number(below)}分之{number(above)}"
    return f"{number(whole)}又{words}" if whole else words


def _power(match: re.Match[str]) -> str:
    base, power = match["base"], match["power"]
    base = number(base) if base.isdigit() else base
    if power in ("²", "^2"):
        return f"{base}的平方"
    if power in ("³", "^3"):
        return f"{base}的立方"
    figures = power.lstrip("^*").strip("()")
    words = _ended(figures) if figures.lstrip("-−").isdigit() else figures
    return f"{base}的{words}次方"


def _in_name(figures: str) -> str:
    """The number in a name of Latin letters, as in COVID-19 or RTX 4090."""
    return number(figures) if len(figures) < 3 or (len(figures) == 3 and figures.endswith("00")) else digits(figures)


def _model(match: re.Match[str]) -> str:
    return f"{match[1]}{_in_name(match[2])}"


def _range(match: re.Match[str]) -> str:
    counted = re.match(rf"\s?(?:{_COUNTED})", match.string[match.end() :])
    first = quantity(match["amount"]) if counted else number(match["amount"])
    return f"{_signed(match['sign'], first)}到{_ended(match['until'])}"


def _two(match: re.Match[str]) -> str:
    return "两"


_F = r"(?<![A-Za-z0-9.,])"
_YEAR_WORDS = "年|届|级|款|版|财年|学年|赛季|世界杯|奥运会?|春晚|春节|国庆|新年|春季|夏季|秋季|冬季|Q[1-4]"
_SIGN_WORDS = {
    "π": "派", "∞": "无穷大", "°C": "摄氏度", "°F": "华氏度", "°": "度", "@": "艾特", "²": "平方", "³": "立方", "$": "美元", "€": "欧元",
    "£": "英镑", "¥": "元", "©": "版权", "%": "百分号", "‰": "千分号",
}  # fmt: skip
RULES: tuple[Rule, ...] = (
    rule("address", ADDRESS, _address),
    rule(
        "ranges, with words",
        rf"(?<=\d[年月日号点时分秒元块岁天米人次万亿千百度级楼])\s?{DASH}{{1,2}}\s?(?=\d)",
        lambda match: "到",
    ),
    rule("address, internet", IP_ADDRESS, _ip),
    rule(
        "hashtag",
        r"(?<![\w&#])#([^\s#\d][^\s#]{0,40})#",
        lambda match: f"话题{match[1]}" + ("，" if match.string[match.end() : match.end() + 1].isalnum() else ""),
    ),
    rule("hashtag, open", r"#(?=[^\W\d_])", lambda match: "话题"),
    rule("C++", r"\b([A-Za-z]\w*)\+\+", lambda match: f"{match[1]}加加"),
    rule("mention", r"(?<![A-Za-z0-9.])@\s?(?=\w)", lambda match: "艾特"),
    rule(
        "item",
        r"(?m)(?<![\w.,])(\d{1,2})[.](?=[\u4e00-\u9fff])|^(\d{1,3})(?:[.)] (?=\S)|、)",
        lambda match: f"{number(match[1] or match[2])}、",
    ),
    rule("card", CARD, lambda match: digits(match[0])),
    # dates
    rule("date", rf"{_F}({_YEARS})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?![\d/]|[-.]\d)日?", _date),
    rule("date, year last", rf"{_F}(\d{{1,2}})([-/])(\d{{1,2}})\2({_YEARS})(?![\d/]|-\d)", _date_by_month),
    rule("date, T", r"(?<=日)T(?=\d{2}:\d{2})", lambda match: ""),
    rule(
        "year and month",
        rf"{_F}({_YEARS})[-/.](0?[1-9]|1[0-2])月",
        lambda match: f"{year(match[1])}年{cardinal(int(match[2]))}月",
    ),
    rule(
        "years, range",
        rf"{_F}({_YEARS})年?\s?(?:{DASH}{{1,2}}|/)\s?({_YEARS}|\d{{2}})(?=年|届|学年|财年|赛季)",
        lambda m: f"{year(m[1])}到{year(m[2])}",
    ),
    rule("decade", rf"{_F}(\d{{2}}[0-9]0|[1-9]0)\s?(?:年代|'?s(?![A-Za-z]))", _decade),
    rule("years", rf"{_F}({_YEARS})(\s?(?:{_YEAR_WORDS}))", _years),
    rule("year, two figures", rf"{_F}(0\d|[5-9]\d)(年(?!代|级|前|后|来|间|内|的|时|以|历|龄|之))", _years),
    rule(
        "years, in brackets",
        rf"(?<=[(（])({_YEARS})\s?{DASH}{{1,2}}\s?({_YEARS})(?=[)）])",
        lambda m: f"{year(m[1])}到{year(m[2])}",
    ),
    rule("year, in brackets", rf"(?<=[(（])({_YEARS})(?=[)）])", lambda match: year(match[1])),
    rule(
        "range, hours",
        rf"(?<![\d.,-])(\d{{1,2}})(点|时|月|号|日)?\s?{DASH}{{1,2}}\s?(\d{{1,2}})(?=点|时|月|号|日)",
        lambda m: f"{'两' if m[1] == '2' and m[2] == '点' else number(m[1])}{m[2] or ''}到{number(m[3])}",
    ),
    rule("born in", r"(?<!\d)(\d[05])(?=后(?!来|退|天|面|续|期|的|就|才|再|开始))", lambda match: digits(match[1])),
    rule(
        "day of the year",
        r"(?<![\d.])(\d{1,2})[.·](\d{1,2})(?=劳动节|地震|事件|国庆|假期|黄金周|儿童节|青年节|购物节|光棍节|大促|晚会)",
        lambda m: f"{cardinal(int(m[1]))}{digits(m[2])}",
    ),
    rule(
        "well-known",
        r"(?<![\d.])(?:(211|985)(?=大学|高校|院校|工程|[、和及,，/])|(996|007)(?!\d|[个元人])|(315|618|1212)(?=晚会|大促|购物节|活动|促销)|(12306|10086|10010|12315|95\d{3})(?![\d个元人米块万亿千次天年%.]))",
        lambda match: digits(match[0]),
    ),
    rule(
        "room",
        r"(?<![\d.])(\d{3,4})(?=室(?!外)|房(?!间?费)|号房|寝室|宿舍|教室|病房|路公交|路车|国道|省道|县道|错误|页面|状态码|报错)",
        lambda match: digits(match[1]),
    ),
    rule("height", r"(?<![\d.])([12])米(\d{1,2})(?![\d.])", lambda match: f"{digits(match[1])}米{digits(match[2])}"),
    rule(
        "date, run together",
        r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![\d.])",
        lambda match: digits(match[0]),
    ),
    rule(
        "month and day",
        rf"{_F}(0?[1-9]|1[0-2])月(?:(0?[1-9]|[12]\d|3[01])(?=日|号))?",
        lambda m: f"{cardinal(int(m[1]))}月" + (cardinal(int(m[2])) if m[2] else ""),
    ),
    # numbers said digit by digit
    rule("phone", PHONE, _phone),
    rule(
        "called",
        rf"({_CALLED})((?:号码|号|是|为|请拨打?|给){{0,4}}[\s:：是]{{0,4}})(\+?\d[\d -]{{1,18}}\d)(?![\w%/点]|[.,:]\d)",
        lambda match: f"{match[1]}{match[2]}{_called(match[3])}",
    ),
    rule(
        "hot line",
        r"(?<!\d)(1(?:10|19|20|22|0086|0010|2306|2315|2345|2580|0000))(?=报警|急救|火警|热线|电话|客服)",
        lambda match: _called(match[1]),
    ),
    rule(
        "numbered",
        rf"({_LONG_NUMBER_OF})((?:号码|号|是|为){{0,4}}\s?[:：#]?\s?(?:是|为)?)((?:\d[\d -]{{1,30}}\d)[Xx]?)(?![\w%/点]|[.,:]\d)",
        lambda match: f"{match[1]}{match[2]}{digits(match[3])}{match[3][-1] if match[3][-1] in 'xX' else ''}",
    ),
    rule(
        "identity",
        r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])",
        lambda match: digits(match[0]) + (match[0][-1] if match[0][-1] in "xX" else ""),
    ),
    rule("version", VERSION, _version),
    # times
    rule("ratio", rf"{_F}(?<!:)(\d{{1,4}})\s?[:：]\s?(\d{{1,7}})(?![\d:：]|[.,]\d)(?!\s?[ap]\.?m)", _ratio),
    rule(
        "ratio, hyphen",
        rf"(?<=比分)([^。！？\d]{{0,6}})(\d{{1,3}})\s?{DASH}\s?(\d{{1,3}})(?!\d)",
        lambda m: f"{m[1]}{number(m[2])}比{number(m[3])}",
    ),
    rule(
        "ratio, before",
        rf"(?<!\d)(\d{{1,3}}){DASH}(\d{{1,3}})(?=\s?(?:战胜|击败|大胜|取胜|获胜|险胜|领先|落后|不敌|负于|输给|战平|逆转))",
        lambda m: f"{number(m[1])}比{number(m[2])}",
    ),
    rule("times, range", rf"(?<=\d:\d{{2}})\s?{DASH}{{1,2}}\s?(?=\d{{1,2}}:\d{{2}})", lambda match: "到"),
    rule("time", rf"(?<![\d:.,])(\d{{1,2}}):(\d{{2}})(?::(\d{{2}}))?(?![\d:]){_HALF}?分?", _time),
    rule(
        "duration",
        r"(?<![\d:.,])(\d+):(\d{2}):(\d{2})(?![\d:])",
        lambda m: f"{number(m[1])}小时{number(m[2])}分{number(m[3])}秒",
    ),
    rule("hour", rf"(?<![\d:.,A-Za-z-])(\d{{1,2}}){_HALF}", _hour),
    rule(
        "o'clock",
        r"(?<![\d.:])0(\d)(?=点(?!\d)|时)|(?<=[点时])0(\d)(?=分|$|\b)",
        lambda m: ("两" if m[1] == "2" else cardinal(int(m[1]))) if m[1] else f"零{cardinal(int(m[2]))}",
    ),
    # amounts
    rule("money, no whole", r"(?<=[$€£¥])\.(?=\d)", lambda match: "0."),
    rule("money, sign inside", r"([$€£¥])\s?[-−](?=\d)", lambda match: f"-{match[1]}"),
    rule(
        "money",
        rf"(?<![A-Za-z])(?P<sign>{MINUS}|(?<!\S)[-−])?(?!¢)(?P<currency>{_CURRENCY})\s?(?P<amount>{NUMBER})(?:\s?{DASH}\s?(?:{_CURRENCY})?(?P<until>{NUMBER}))?{_SCALE}",
        _money,
    ),
    rule(
        "money, after",
        rf"(?<![A-Za-z\d.,])(?P<sign>{MINUS})?(?P<amount>{NUMBER})(?:\s?{DASH}\s?(?P<until>{NUMBER}))?{_SCALE}\s?(?P<currency>{_CURRENCY})(?![A-Za-z0-9])",
        _money,
    ),
    rule(
        "percent",
        rf"(?<![\d.,])(?P<sign>{MINUS})?(?P<amount>{NUMBER})\s?[%‰‱]?(?:\s?{DASH}\s?(?P<until>{NUMBER}))?\s?(?P<unit>[%‰‱])",
        _percent,
    ),
    rule("degrees and minutes", r"(\d{1,3})°\s?(\d{1,2})['′]", lambda m: f"{number(m[1])}度{number(m[2])}分"),
    rule("inches", rf"(?<![\w.,])({NUMBER})[″]", lambda match: f"{number(match[1])}英寸"),
    rule(
        "by",
        rf"(?<![\w.])({NUMBER})\s?[x×*]\s?({NUMBER})(?:\s?[x×*]\s?({NUMBER}))?(?=\s?(?:{_MEASURE})(?![A-Za-z0-9]))",
        lambda m: "乘".join(number(part) for part in m.groups() if part)[: -len(number(m[3] or m[2]))] + (m[3] or m[2]),
    ),
    rule(
        "measure",
        rf"(?<![\d.,])(?P<sign>{MINUS})?(?<![A-Za-z])(?P<amount>{NUMBER})(?:\s?(?:{_MEASURE})?\s?(?:{DASH}|到|至)\s?(?P<until>[-−]?{NUMBER}))?\s?(?P<unit>{_MEASURE})(?:/(?P<per>{_MEASURE}|[天年月周人次]))?(?![A-Za-z0-9²³])",
        _measure,
    ),
    rule(
        "per",
        r"(?<=[\u4e00-\u9fff])/(?=(?:小时|分钟|分|秒|天|日|月|年|周|人|次|个|平方米|平米|公斤|千克|吨|斤|克|公里|千米|米|升|晚|件|位|度|亩|股|台)(?![A-Za-z0-9]))",
        lambda match: "每",
    ),
    # kinds of numbers
    rule(
        "th",
        rf"(?<=第)\s?(\d+)(?:\s?{DASH}{{1,2}}\s?第?(\d+))?",
        lambda match: (
            number(match[1]) + (f"到{'第' if '第' in match[0] else ''}{number(match[2])}" if match[2] else "")
        ),
    ),
    rule("ordinal", r"(?<![\w.])(\d{1,9})(?:st|nd|rd|th)(?![A-Za-z0-9])", lambda match: f"第{cardinal(int(match[1]))}"),
    rule("number of", r"(?:#|\b[Nn][Oo]\. ?)(\d+)(?![A-Za-z0-9])", lambda match: f"第{number(match[1])}"),
    rule(
        "years, bare range",
        rf"{_F}(?<![-–])((?:19|20)\d{{2}})\s?{DASH}\s?((?:19|20)\d{{2}})(?![\d.,%-]*\d)(?!\s?(?:=|元|米|人|个|块|公里|克|斤))",
        lambda m: f"{year(m[1])}到{year(m[2])}",
    ),
    rule("model", r"(?<![A-Za-z0-9.-])([A-Za-z][A-Za-z]*-?)(\d{1,6})(?![\d,:/]|\.\d)", _model),
    rule(
        "model, named",
        r"(\bRTX|\bGTX|\bRX|Boeing|Airbus|波音|空客)( ?)(\d{3,4})(?!\d|[.,]\d)",
        lambda match: f"{match[1]}{match[2]}{digits(match[3])}",
    ),
    rule("24 hours", r"\b7\s?[x×*]\s?24(?!\d)", lambda match: "七乘二十四"),
    # arithmetic
    rule(
        "power of ten",
        rf"{_F}(?<![A-Za-z])(\d+(?:\.\d+)?)[eE]([+-]?\d{{1,3}})(?![\w.])",
        lambda m: f"{number(m[1])}乘以十的{'负' if '-' in m[2] else ''}{number(m[2].lstrip('+-'))}次方",
    ),
    rule(
        "power",
        r"(?P<base>(?<![A-Za-z])[A-Za-z]|(?<![\d.])\d+|\))(?P<power>[²³]|\^\(?[-−]?\w{1,6}\)?|\*\*\d{1,4})(?![A-Za-z0-9])",
        _power,
        re.ASCII,
    ),
    rule("root", r"√\s?", lambda match: "根号"),
    rule("fold", rf"(?<![\w.])({NUMBER})[xX×](?![A-Za-z0-9])(?!\s?\d)", lambda match: f"{quantity(match[1])}倍"),
    rule(
        "minus, equation",
        r"(?<=[\d)A-Za-z])\s?[-−–]\s?(?=\d[\d.,]*\s?[=≈])|(?<=[A-Za-z\d)]) [-−] (?=\d)|(?<=\d)−(?=\d)",
        lambda match: "减",
    ),
    rule(
        "times", r"(?<=[\w)])\s?[×∙]\s?(?=[\w(√])|(?<=\d)\s?·\s?(?=\d)|(?<=\d)\s?[*x]\s?(?=[\d(])", lambda match: "乘"
    ),
    rule("divided", r"\s?÷\s?|(?<=\d) / (?=\d)", lambda match: "除以"),
    rule("plus or minus", r"\s?(?:±|\+/-)\s?", lambda match: "正负"),
    rule("plus, many", r"(?<=\d)\+(?=\s?[个人名位家万元次天年条种款台件])", lambda match: "多"),
    rule("plus", r"(?<=[\w)²³])\s?\+\s?(?=[\w(√])|(?<![\w)])\+(?=\d)", lambda match: "加"),
    rule(
        "plus, more",
        r"(?<=[\d万亿千百])\+(?!\w)",
        lambda match: "多" if match.string[match.start() - 1] in "万亿千百" else "以上",
    ),
    rule("at most", r"\s?(?:≤|<=)\s?", lambda match: "小于等于"),
    rule("at least", r"\s?(?:≥|>=)\s?", lambda match: "大于等于"),
    rule("unequal", r"\s?(?:≠|!=)\s?", lambda match: "不等于"),
    rule("arrow", r"\s?(?:->|=>|→|⇒)\s?", lambda match: "到"),
    rule("less", r"(?<=[\w)])\s?<\s?(?=[\w(-])|(?<![A-Za-z])<\s?(?=\d)", lambda match: "小于"),
    rule("greater", r"(?<=[\w)])\s?>\s?(?=[\w(-])|(?<![A-Za-z])>\s?(?=\d)", lambda match: "大于"),
    rule("equals", r"(?<=[\w)])\s?={1,3}\s?(?=[\w(?？√$-]|$)", lambda match: "等于"),
    rule("about", r"\s?≈\s?|(?<![\w~])~\s?(?=\d)", lambda match: "约等于" if "≈" in match[0] else "大约"),
    rule(
        "fraction",
        r"(?<![\w.,/])(?:(?P<whole>\d{1,4}) )?(?P<above>\d{1,9})/(?P<below>\d{1,9})(?![\d/]|\.\d)",
        _fraction,
        re.ASCII,
    ),
    # what is left
    rule(
        "range",
        rf"(?<![A-Za-z0-9.,-])(?P<sign>{MINUS})?(?P<amount>{NUMBER})\s?{DASH}{{1,2}}\s?(?P<until>[-−]?{NUMBER})(?![A-Za-z0-9-]|[.,]\d)",
        _range,
    ),
    rule("minus", rf"(?<!第){MINUS}\s?({NUMBER})", lambda match: f"负{number(match[1])}"),
    rule("two", rf"(?<![\d.,第周A-Za-z星期初十-])2(?=\s?(?:{_COUNTED}))(?!\s?(?:月|号|楼|日))", _two),
    rule("number", NUMBER, lambda match: number(match[0])),
    rule("point", r"\.(?=[零一二三四五六七八九])", lambda match: "点"),
    rule("and", r"(?<=\w)\s?&{1,2}\s?(?=\w)", lambda match: "和"),
    rule("signs", r"π|∞|°C|°F|°|@(?=\w)|(?<=\w)[²³]|\$(?=\w)|€|£|¥|©|%|‰", lambda match: _SIGN_WORDS[match[0]]),
    rule(
        "units that are no more",
        r"(?<=[百千万亿半几数多])\s?(?:km|kg|cm|mm)(?![A-Za-z0-9])",
        lambda match: _MEASURES[match[0].strip()],
    ),
    rule("superfluous", r"[*_`^|\\#<>{}]+", lambda match: " "),
    rule("no space", r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])", lambda match: ""),
)
_ANYTHING = re.compile(r"[+=×÷<>≤≥≠≈±√π∞&@#%‰°$€£¥*_`^|\\{}²³→©]|\d|\w\.\w")


def chinese(text: str) -> str:
    """`text`, plain (see `plain.py`), with its numbers and signs in words."""
    if not _ANYTHING.search(text):
        return text
    return re.sub(r"[^\S\n]+", " ", applied(text, RULES)).strip()
