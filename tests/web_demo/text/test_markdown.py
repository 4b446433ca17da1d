from __future__ import annotations

import random

import pytest

from web_demo.text.markdown import MAX_HELD, MarkdownReader, without_markdown

CASES = [
    ("This is **bold** text.", "This is bold text."),
    ("这是**加粗**文字。", "这是加粗文字。"),
    ("*a*, _b_, __c__, ***d*** and ~~e~~", "a, b, c, d and e"),
    ("See [our page](https://example.org/a/b?c=1) now.", "See our page now."),
    ("![a cat](cat.png) and [x][1]", "a cat and x"),
    ("a [**bold** link](http://e.org/a_(b)).", "a bold link."),
    ("# Title\n\nFirst line.", "Title.\n\nFirst line."),
    ("## 标题 ##\n正文。", "标题。\n正文。"),
    ("Title\n=====\ntext", "Title\ntext"),
    ("- one\n* two\n+ [x] three!", "one.\ntwo.\nthree!"),
    ("- 苹果\n- 梨，\n", "苹果。\n梨，\n"),
    ("1. Take it.\n2) Go", "1. Take it.\n2) Go."),
    ("> quoted\n>> twice", "quoted\ntwice"),
    ("Run `ls -l` 3 times.", "Run ls -l 3 times."),
    ("``a`b``", "a`b"),
    ("```python\nx = 1\n\ny = a_b * c\n```\nend", "x = 1\n\ny = a_b * c\nend"),
    ("| a | b |\n|---|:-:|\n| 1 | **2** |", "a, b.\n1, 2."),
    ("|名字|年龄|\n|--|--|\n|小明|3|", "名字，年龄。\n小明，3."),
    ("a\n\n---\n\n***\nb", "a\n\n\nb"),
    ("<https://e.org/x> <b>x</b>y<br>z <!-- no -->", "https://e.org/x xy z "),
    (r"1 \* 2 &amp; 3 &lt; 4", "1 * 2 & 3 < 4"),
    ("note[^1] here", "note here"),
    # what only looks like markup
    ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
    ("2**10 and 5*3*2", "2**10 and 5*3*2"),
    ("snake_case_name and __init__", "snake_case_name and init"),
    ("We are #1, see [3] and a[0].", "We are #1, see [3] and a[0]."),
    ("a < b and c > d", "a < b and c > d"),
    ("-5 degrees, +3, ~5", "-5 degrees, +3, ~5"),
    ("5 > 3", "5 > 3"),
    ("an unclosed **mark and `tick", "an unclosed mark and tick"),
    ("C:\\dir 3", "C:\\dir 3"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "words"), CASES)
def test_markdown_becomes_its_words(written: str, words: str) -> None:
    assert without_markdown(written) == words


@pytest.mark.parametrize(("written", "words"), CASES)
def test_how_it_was_cut_into_deltas_changes_nothing(written: str, words: str) -> None:
    rng = random.Random(7)
    for size in (1, 2, 3, 5, 8):
        reader, out, at = MarkdownReader(), "", 0
        while at < len(written):
            step = rng.randint(1, size)
            out += reader.push(written[at : at + step])
            at += step
        assert out + reader.flush() == words


def test_words_come_out_before_their_line_ends() -> None:
    reader = MarkdownReader()
    assert reader.push("Hello **my friend**, how are ") == "Hello my friend, how are "
    assert reader.push("you? See [the ") == "you? See "
    assert reader.push("page](http://e.org) ") == "the page "
    assert reader.push("- x\n- it") == "- x\n"
    assert reader.push("em one ") == "item one "
    assert reader.flush() == "."


def test_a_mark_that_never_closes_holds_a_limited_stretch() -> None:
    reader = MarkdownReader()
    out = reader.push("**" + "word " * MAX_HELD)
    assert len(out) > MAX_HELD
    assert out.startswith("word word")
