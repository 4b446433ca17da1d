"""Texts, rows and books to sound by the embedded voice."""

import asyncio
import os
import sys
from pathlib import Path

import av
import pytest

from tests.web_demo.archive.test_run import rows
from web_demo.archive.listing import listed
from web_demo.archive.speaking import PART_CHARS, TEXTS, Synthesis, voice_fields
from web_demo.archive.stages import Ended, Failed, Part, Task
from web_demo.errors import InvalidRequest
from web_demo.server.tts.settings import TtsSettings

ROOT = Path(__file__).parents[3]
BOOK = "# A Book\n\n## One\n\nThe first chapter costs $5.\n\n## Two\n\n" + "The second one is longer than that. " * 80


def plan(kind: str = "wav", **fields) -> Synthesis:
    return Synthesis(TtsSettings(port=0, engine="embedded"), kind, voice_fields("英文女", 1.0, "") | fields)


async def items(stages: Synthesis, *sources: Path) -> list[Part | Ended | Failed]:
    listing = listed([str(source) for source in sources], TEXTS, rows_have_place=False)
    tasks = [Task(number, entry, entry.inside) for number, entry in enumerate(listing.entries)]
    return [item async for item in stages.splitter().split(tasks)]


async def test_a_book_is_cut_into_passages_that_know_their_chapters(tmp_path: Path):
    (tmp_path / "book.md").write_text(BOOK)
    *parts, ended = await items(plan(), tmp_path / "book.md")
    assert isinstance(ended, Ended)
    assert ended.parts == len(parts) > 3
    assert ended.facts.titles == ("One", "Two")
    passages = [part.work for part in parts]  # type: ignore[union-attr]
    assert passages[0].asked.pieces[-1] == "The first chapter costs five dollars."
    assert [passage.chapter for passage in passages] == [0, *[1] * (len(parts) - 1)]
    assert {passage.about.title for passage in passages} == {"A Book"}
    assert all(sum(map(len, passage.asked.pieces)) <= PART_CHARS for passage in passages)


async def test_a_row_says_its_own_voice_speed_and_language(tmp_path: Path):
    table = tmp_path / "rows.csv"
    table.write_text("id,text,voice,speed\na,Hello there.,英文男,1.5\nb,你好。,,\nc,,,\nd,Hi.,,fast\n")
    first, _, second, _, nothing, wrong = await items(plan(), table)
    assert isinstance(first, Part)
    assert isinstance(second, Part)
    assert (first.work.asked.voice, first.work.asked.speed) == ("英文男", 1.5)
    assert (second.work.asked.voice, second.work.asked.language) == ("英文女", "zh")
    assert isinstance(nothing, Failed)
    assert "nothing that can be spoken" in nothing.error
    assert isinstance(wrong, Failed)
    assert "speed" in wrong.error


def test_a_format_that_there_is_not_is_refused():
    with pytest.raises(InvalidRequest, match="formats are m4b"):
        plan("wma")


async def test_the_program_reads_a_book_and_rows_out(tmp_path: Path):
    (tmp_path / "book.md").write_text(BOOK[:120])
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "x/y", "text": "Hello.", "note": "n"}\n{"id": "z", "text": "Hello.", "voice": "nobody"}\n'
    )
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "scripts/synthesize_archive.py", str(tmp_path / "book.md"), str(tmp_path / "rows.jsonl")),
        *(str(tmp_path / "out"), "--workers", "1"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await program.communicate()
    assert program.returncode == 1, said.decode()
    with av.open(str(tmp_path / "out" / "book.m4b")) as book:
        assert [chapter["metadata"]["title"] for chapter in book.chapters()] == ["One", "Two"]
    table = rows(tmp_path / "out")
    assert [(row["result"], row["status"], row["note"]) for row in table] == [
        ("book", "ok", None),
        ("rows/x/y", "ok", "n"),
        ("rows/z", "failed", None),
    ]
    assert "nobody" in table[2]["error"]
    assert table[0]["seconds"] > 1
