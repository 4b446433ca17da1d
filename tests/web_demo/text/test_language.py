"""Codes of languages, as requests write them."""

import pytest

from web_demo.text.language import language_code


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("zh-Hans-CN", "zh"),
        ("zho", "zh"),
        ("cmn", "zh"),
        ("zh-yue", "zh"),
        ("yue-HK", "zh"),  # numbers are written alike
        ("eng", "en"),
        ("en_GB", "en"),
        ("deu-AT", "de"),
        ("English", "en"),
        ("sv", "sv"),
        ("haw", "haw"),
        ("", ""),
        ("auto", ""),
        ("klingon", ""),
    ],
)
def test_any_tag_is_its_language(written: str, code: str) -> None:
    assert language_code(written) == code
