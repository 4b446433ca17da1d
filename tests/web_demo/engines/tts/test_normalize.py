from __future__ import annotations

import pytest

pytest.importorskip("wetext", reason="of requirements-models.txt")

from web_demo.engines.tts.normalize import normalize


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("价格是12.50元。", "价格是十二点五零元。"),
        ("2026年11月23日", "二零二六年十一月二十三日"),
        ("重量2.5kg，温度-3℃，打8折，50%", "重量二点五千克，温度负三摄氏度，打八折，百分之五十"),
        ("It costs $12.50, 5 km away.", "It costs twelve point five dollars, five kilometers away."),
        ("12:30", "十二点三十分"),
        ("no numbers here, 没有数字", "no numbers here, 没有数字"),
        ("りんごを3個", "りんごを3個"),
        ("사과 3개", "사과 3개"),
        ("", ""),
    ],
)
def test_numbers_dates_units_and_amounts_become_words(written: str, spoken: str) -> None:
    assert normalize(written) == spoken
