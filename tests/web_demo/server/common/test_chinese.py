"""What the services say, for a reader of Chinese."""

import ast
import re
from pathlib import Path

import pytest

from web_demo.server.common.api.chinese import SAYINGS, said_in

SOURCE = Path(__file__).parents[4] / "web_demo"


def templates(node: ast.AST) -> str | None:
    """A text of the source, with {} where something is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def written() -> set[str]:
    texts = set[str]()
    for path in SOURCE.rglob("*.py"):
        if path.name != "chinese.py":
            texts |= {text for node in ast.walk(ast.parse(path.read_text())) if (text := templates(node)) is not None}
    return texts


def test_each_saying_is_one_that_a_service_says():
    texts = written()
    ends = {
        text.partition("; {}")[0] for text in texts
    }  # what is said in front of something that is said elsewhere too
    said = texts | ends | {text.removeprefix("{}; ") for text in texts}
    unsaid = [english for english in SAYINGS if not {english, english.removeprefix("{}")} & said]
    assert unsaid == []


@pytest.mark.parametrize("english", SAYINGS)
def test_each_saying_keeps_what_is_filled_in(english):
    places = [int(number) for number in re.findall(r"\{(\d)\}", SAYINGS[english])]
    assert sorted(places) == list(range(english.count("{}")))
    filled = english.format(*(f"<{number}>" for number in places))
    chinese = said_in("zh", filled)
    assert chinese != filled
    assert all(f"<{number}>" in chinese for number in range(len(places)))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "the file is damaged: 2 places are missing, the first at 1.5 s; no speech was heard in 3.0 s of sound",
            "文件有损坏：缺失 2 处，第一处在 1.5 秒；3.0 秒的声音里没有听到人声",
        ),
        ("the file broke the decoder: only the first 4.0 s were used", "这个文件使解码器出错：只使用了前 4.0 秒"),
        ("the service is loading: the engine is starting", "服务正在加载：引擎正在启动"),
        ("funasr: no weights at x/y: fetch.sh; other: quite new", "funasr：x/y 没有权重：fetch.sh；other：quite new"),
        ("a saying that nobody knows", "a saying that nobody knows"),
    ],
)
def test_sayings_come_together_and_what_is_not_known_stays(english, chinese):
    assert said_in("zh", english) == chinese
    assert said_in("en", english) == said_in("", english) == english
