"""The language of who asks."""

import pytest

from web_demo.server.common.asker import language_of


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", ""),
        ("zh-CN,zh;q=0.9", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, zh-Hant-TW;q=0.7", "zh"),
        ("fr-FR, de;q=0.9, zh_CN;q=0.5, en;q=0.4", "zh"),
        ("fr", ""),
        ("zh;q=0, en", "en"),
        ("zh;q=0", ""),
        ("*", ""),
        ("zh;q=x, en;q=0.1", "en"),
        (";;,=;q=", ""),
    ],
)
def test_it_is_the_one_that_weighs_most(header: str, language: str) -> None:
    assert language_of(header) == language
