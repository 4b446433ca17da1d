"""Runs without Ray, with stages that make no sound: results whole, rows for all, and going on after any end."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from tests.web_demo.archive.fakes import Capitals
from web_demo.archive.listing import listed
from web_demo.archive.manifest import MANIFEST
from web_demo.archive.run import OutputLost, Run, Summary
from web_demo.archive.runners.local import LocalRunner
from web_demo.archive.stores import Store
from web_demo.errors import SetupError

ROOT = Path(__file__).parents[3]
DRIVER = """
import asyncio, sys
from tests.web_demo.archive.fakes import Capitals
from tests.web_demo.archive.test_run import over
print(asyncio.run(over(sys.argv[1], sys.argv[2], stages=Capitals(batch_s=1.0, slow_s=float(sys.argv[3])))))
"""


async def over(source: str, output: str, *, stages: Capitals | None = None, workers: int = 2, **how) -> Summary:
    stages = stages or Capitals()
    run = Run(stages, output, quiet=True, **how)
    listing = listed([source], {".txt"})
    with run.locked():
        tasks, before = run.missing(listing)
        async with LocalRunner(stages, [""] * workers) as runner:
            return await run.over(listing, runner, tasks, before)


def texts(folder: Path, contents: Mapping[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content)
    return str(folder)


def results(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.txt")}


def rows(folder: Path | str) -> list[dict]:
    content = Store(str(folder)).get(MANIFEST)
    assert content is not None
    return parquet.read_table(io.BytesIO(content)).to_pylist()


def count(summary: Summary) -> tuple[int, int, int, int]:
    return summary.done, summary.failed, summary.before, summary.left


async def test_every_entry_gets_its_result_and_its_row(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n}.txt": f"line a{n}\nline b{n}\nc\nd" for n in range(20)})
    assert count(await over(source, str(tmp_path / "out"))) == (20, 0, 0, 0)
    assert results(tmp_path / "out") == {f"{n}.txt": f"LINE A{n}\nLINE B{n}\nC\nD" for n in range(20)}
    table = rows(tmp_path / "out")
    assert len(table) == 20
    assert {row["status"] for row in table} == {"ok"}
    first = next(row for row in table if row["path"] == str(tmp_path / "in" / "0.txt"))
    assert (first["result"], first["seconds"], first["engine"], first["engine_version"]) == ("0", 4.0, "capitals", "1")


async def test_bad_entries_are_rows_with_reasons_and_the_rest_is_done(tmp_path: Path):
    """A text that fails, one that kills whoever works on it, one that cannot be read; in batches with good ones."""
    contents = {f"{n}.txt": f"good {n}" for n in range(8)} | {"1.txt": "a\n[fail]", "4.txt": "[die]", "6.txt": "x"}
    source = texts(tmp_path / "in", contents)
    (tmp_path / "in" / "6.txt").write_bytes(b"\xff\xfe")
    assert count(await over(source, str(tmp_path / "out"))) == (5, 3, 0, 0)
    assert sorted(results(tmp_path / "out")) == ["0.txt", "2.txt", "3.txt", "5.txt", "7.txt"]
    why = {Path(row["path"]).name: row["error"] for row in rows(tmp_path / "out") if row["status"] == "failed"}
    assert why["1.txt"] == "told to fail"
    assert "died twice over it" in why["4.txt"]
    assert why["6.txt"] == "no text: UnicodeDecodeError"


async def test_a_worker_that_is_killed_costs_no_entry(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n}.txt": f"good {n}" for n in range(8)} | {"3.txt": f"[once {tmp_path}/mark]"})
    assert count(await over(source, str(tmp_path / "out"), workers=1)) == (8, 0, 0, 0)
    assert (tmp_path / "mark").exists()


async def test_a_second_run_does_what_is_missing(tmp_path: Path):
    source = texts(tmp_path / "in", {"a.txt": "a", "b.txt": "[fail]", "c.txt": "c"})
    output = tmp_path / "out"
    await over(source, str(output))
    texts(tmp_path / "in", {"d.txt": "d", "c.txt": "changed"})
    (output / "a.txt").unlink()
    kept = rows(output)
    assert count(await over(source, str(output))) == (3, 0, 1, 0)  # a, c, d
    assert results(output) == {"a.txt": "A", "c.txt": "CHANGED", "d.txt": "D"}
    assert len(rows(output)) == len(kept) + 1
    texts(tmp_path / "in", {"b.txt": "[fail]"})
    os.utime(tmp_path / "in" / "b.txt", ns=(0, 0))
    assert count(await over(source, str(output))) == (0, 1, 3, 0)  # another file by its time
    assert count(await over(source, str(output))) == (0, 0, 4, 0)
    assert count(await over(source, str(output), retry_failed=True)) == (0, 1, 3, 0)


async def test_a_run_that_is_killed_leaves_nothing_half_done_and_the_next_one_ends_it(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n:02}.txt": f"a {n}\n[slow] {n}" for n in range(40)})
    output = tmp_path / "out"
    driver = start(source, output, 0.1)
    until(lambda: len(results(output)) >= 8)
    driver.kill()
    driver.wait()
    until(lambda: not children_of(driver.pid))
    before = results(output)
    assert 8 <= len(before) < 40
    assert all(content == f"A {int(name[:2])}\n[SLOW] {int(name[:2])}" for name, content in before.items())
    summary = await over(source, str(output), stages=Capitals(slow_s=0.0))
    assert summary.done + summary.before == 40
    assert len(results(output)) == 40
    assert len(rows(output)) == 40
    assert [path.name for path in output.iterdir() if path.name.startswith(".") and path.name != ".archive"] == []


async def test_ctrl_c_finishes_what_is_in_work_and_the_next_run_goes_on(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n:02}.txt": "[slow]" for n in range(30)})
    output = tmp_path / "out"
    driver = start(source, output, 0.2)
    until(lambda: len(results(output)) >= 2)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert "left=" in said
    done = len(results(output))
    assert done < 30
    assert len(rows(output)) == done  # each that has a result has its row, too
    assert f"done={done}, failed=0, before=0, left={30 - done}" in said
    summary = await over(source, str(output), stages=Capitals(slow_s=0.0))
    assert count(summary) == (30 - done, 0, done, 0)


async def test_a_full_disk_ends_the_run_and_blames_no_entry(tmp_path: Path):
    small = tmp_path / "small"
    small.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)):
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        source = texts(tmp_path / "in", {f"{n:02}.txt": "word " * 1000 for n in range(30)})
        with pytest.raises(OutputLost, match="No space left on device"):
            await over(source, str(small))
        written = results(small)
        assert 0 < len(written) < 30
        assert set(written.values()) == {"WORD " * 1000}
        assert run("mount", "-o", "remount,size=4m", str(small)) == 0
        summary = await over(source, str(small))
        assert summary.failed == 0
        assert len(results(small)) == len(rows(small)) == 30
    finally:
        assert run("umount", str(small)) == 0


async def test_results_go_to_a_store_as_to_a_folder(tmp_path: Path):
    source = texts(tmp_path / "in", {"a.txt": "a", "b.txt": "b"})
    output = f"memory://{tmp_path.name}"
    assert count(await over(source, output)) == (2, 0, 0, 0)
    assert Store(output).get("a.txt") == b"A"
    assert len(rows(output)) == 2
    assert count(await over(source, output)) == (0, 0, 2, 0)


async def test_two_runs_do_not_write_into_the_same_folder(tmp_path: Path):
    one, other = Run(Capitals(), str(tmp_path)), Run(Capitals(), str(tmp_path))
    with one.locked(), pytest.raises(SetupError, match="another run writes into"), other.locked():
        pass


async def test_an_engine_that_cannot_start_ends_the_run_with_its_reason(tmp_path: Path):
    source = texts(tmp_path / "in", {"a.txt": "a"})
    with pytest.raises(SetupError, match="no weights at all"):
        await over(source, str(tmp_path / "out"), stages=Capitals(start_error="no weights at all"))


def start(source: str, output: Path, slow_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, source, str(output), str(slow_s)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def run(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode


def until(look, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(pid: int) -> list[str]:
    """What still runs of the processes that a driver started: they name nothing of it, so by their parent's number."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(stat.parent.name)
    return found
