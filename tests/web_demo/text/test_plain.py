from __future__ import annotations

import pytest

from web_demo.text.plain import plain, roman_value


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("１２：３０", "12:30"),
        ("会议在１５：３０开始", "会议在15:30开始"),
        ("价格３．５元，Ａ／Ｂ", "价格3.5元，A/B"),
        ("１，２３４，５６７", "1,234,567"),
        ("１０，２００", "10，200"),
        ("ＡＰＰ：Ｈｅｌｌｏ　world！", "APP:Hello world！"),
        ("ｈｔｔｐｓ：／／ａ．ｂ／ｃ", "https://a.b/c"),
        ("exam\u00adple read\u200bable x\ufeffy a\u200db", "example readable xy ab"),
        ("cafe\u0301 Ångström".replace("Å", "A\u030a"), "café Ångström"),
        ("50㎡ 3㎥ 30㎞ 25℃ 77℉ ㎏", "50m² 3m³ 30km 25°C 77°F kg"),
        ("①②③ 第①步 ❶ ㈠", "1 2 3 第1步 1 一"),
        ("½ 2½ x² 10⁵ H₂O", "1/2 2 1/2 x² 10^5 H2O"),
        ("Ⅳ 第Ⅻ章", "4 第12章"),
        ("ﬁnd 𝐇𝐞𝐥𝐥𝐨 Ｔｅｓｔ", "find Hello Test"),
        ("٣٤ ३ ๓", "34 3 3"),
        ("You have 3 👍 likes 😀!", "You have 3 likes!"),
        ("你好😀世界😀！", "你好世界！"),
        ("good😀morning 👩‍👩‍👧 🇨🇳 1️⃣", "good morning 1"),
        ("你好 世界", "你好 世界"),
        ("a\x07b\x00c", "a b c"),
        ("x\ud800y", "x y"),
        ("a \t b\n\n\n c\r\nd", "a b\n\nc\nd"),
        ("20 °C, €5 + 3%", "20 °C, €5 + 3%"),
        ("हिन्दी 人々 ガギ ㅋㅋ", "हिन्दी 人々 ガギ ㅋㅋ"),
        ("a<|<|x|>c|>b <|y\nz|> [breath]", "a c|>b [breath]"),
        ("", ""),
        ("👍", ""),
    ],
)
def test_text_is_made_plain(written: str, made: str) -> None:
    assert plain(written) == made
    assert plain(made) == made


@pytest.mark.parametrize(
    ("numeral", "value"), [("IV", 4), ("MCMXCIX", 1999), ("XIV", 14), ("IIII", None), ("VX", None), ("", None)]
)
def test_roman_numerals_have_one_way_to_be_written(numeral: str, value: int | None) -> None:
    assert roman_value(numeral) == value
