"""The stages on a real Ray of this machine. One test belongs to the default run; `tests/tools/test_archive.sh` runs all of them."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.web_demo.archive.fakes import Capitals
from tests.web_demo.archive.test_run import children_of, count, over, results, rows, texts, until
from tests.web_demo.server.asr.helpers import SPEECH
from web_demo.archive.listing import listed
from web_demo.archive.run import Run, Summary

pytest.importorskip("ray", reason="pip install -r requirements-archive.txt")

from ray.cluster_utils import Cluster

from web_demo.archive.runners import cluster as ours

ROOT = Path(__file__).parents[3]
whole = pytest.mark.skipif(not os.environ.get("ARCHIVE_TESTS"), reason="tests/tools/test_archive.sh runs it")


async def over_ray(source: str, output: str, address: str = ours.LOCAL, stages: Capitals | None = None) -> Summary:
    stages = stages or Capitals()
    run = Run(stages, output, quiet=True)
    listing = listed([source], {".txt"})
    tasks, before = run.missing(listing)
    async with ours.RayRunner(stages, address, 2) as runner:
        return await run.over(listing, runner, tasks, before)


@asynccontextmanager
async def two_nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """Two raylets with a processor each; what they run gets this checkout with its tests."""
    monkeypatch.setattr(ours, "LEFT_BEHIND", [name for name in ours.LEFT_BEHIND if name != "/tests"])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})  # sets handlers of signals: in this thread
    try:
        made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()


@pytest.mark.long
async def test_a_folder_on_ray(tmp_path: Path):
    source = texts(tmp_path / "in", {"a.txt": "a\nb", "b.txt": "[fail]", "c.txt": "c"})
    assert count(await over_ray(source, str(tmp_path / "out"))) == (2, 1, 0, 0)
    assert results(tmp_path / "out") == {"a.txt": "A\nB", "c.txt": "C"}
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", "failed", "ok"]


@whole
async def test_ray_gives_what_processes_of_this_machine_give(tmp_path: Path):
    """Good texts, bad ones, one that kills its process, one whose actor is killed: the same files, the same rows."""
    contents = {f"{n:02}.txt": f"good {n}\nand more" for n in range(12)}
    contents |= {"03.txt": "[fail]", "05.txt": "[die]", "07.txt": f"[orphan {tmp_path}/mark]"}
    source = texts(tmp_path / "in", contents)
    assert count(await over_ray(source, str(tmp_path / "ray"))) == (10, 2, 0, 0)
    assert (tmp_path / "mark").exists()
    assert count(await over(source, str(tmp_path / "local"))) == (10, 2, 0, 0)
    assert results(tmp_path / "ray") == results(tmp_path / "local")

    def told(folder: Path) -> list[dict]:
        return [{**row, "finished": ""} for row in rows(folder)]

    assert told(tmp_path / "ray") == told(tmp_path / "local")


@whole
async def test_a_node_that_is_killed_costs_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = texts(tmp_path / "in", {f"{n:03}.txt": f"[slow] {n}\nb" for n in range(80)})
    async with two_nodes(monkeypatch) as cluster:
        running = asyncio.create_task(over_ray(source, str(tmp_path / "out"), cluster.address, Capitals(slow_s=0.2)))
        await asyncio.to_thread(until, lambda: len(results(tmp_path / "out")) >= 10, 120)
        (lost,) = cluster.worker_nodes
        cluster.remove_node(lost, allow_graceful=False)  # not gracefully: a kill
        assert count(await running) == (80, 0, 0, 0)
    assert results(tmp_path / "out") == {f"{n:03}.txt": f"[SLOW] {n}\nB" for n in range(80)}
    assert len(rows(tmp_path / "out")) == 80


@whole
async def test_two_nodes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = texts(tmp_path / "in", {f"{n:03}.txt": "\n".join(f"{n} {line}" for line in range(n)) for n in range(60)})
    async with two_nodes(monkeypatch) as cluster:
        assert count(await over_ray(source, str(tmp_path / "two"), cluster.address)) == (60, 0, 0, 0)
    assert count(await over(source, str(tmp_path / "local"))) == (60, 0, 0, 0)
    assert results(tmp_path / "two") == results(tmp_path / "local")


@whole
async def test_a_driver_that_is_killed_leaves_whole_results_and_no_process(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n:03}.txt": f"a {n}\n[slow] {n}" for n in range(60)})
    output = tmp_path / "out"
    driver = await start(source, output)
    await asyncio.to_thread(until, lambda: len(results(output)) >= 5, 120)
    driver.send_signal(signal.SIGKILL)
    await driver.wait()
    await asyncio.to_thread(until, lambda: not children_of(driver.pid), 60)
    done = results(output)
    assert 5 <= len(done) < 60
    assert all(content == f"A {int(name[:3])}\n[SLOW] {int(name[:3])}" for name, content in done.items())
    summary = await over_ray(source, str(output), stages=Capitals(slow_s=0.0))
    assert summary.done + summary.before == 60
    assert len(results(output)) == len(rows(output)) == 60


@whole
async def test_ctrl_c_on_ray_finishes_what_is_in_work(tmp_path: Path):
    source = texts(tmp_path / "in", {f"{n:03}.txt": f"[slow] {n}" for n in range(200)})
    output = tmp_path / "out"
    driver = await start(source, output)
    await asyncio.to_thread(until, lambda: len(results(output)) >= 2, 120)
    driver.send_signal(signal.SIGINT)
    assert await driver.wait() == 0
    done = len(results(output))
    assert 2 <= done < 200
    assert len(rows(output)) == done


async def start(source: str, output: Path) -> asyncio.subprocess.Process:
    program = (
        "import asyncio, sys; from tests.web_demo.archive.test_cluster import over_ray; "
        "from tests.web_demo.archive.fakes import Capitals; "
        "asyncio.run(over_ray(sys.argv[1], sys.argv[2], stages=Capitals(batch_s=1.0, slow_s=0.2)))"
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, source, str(output)), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@whole
async def test_three_hundred_recordings_a_fifth_of_them_bad(tmp_path: Path):
    """By the program, with the embedded recogniser, on Ray and without: the same words, at the same times but for 100 ms, since the
    edges of words depend a little on what its process heard before."""
    source = tmp_path / "in"
    names = sorted(SPEECH.glob("cards_*.wav"))
    for number in range(300):
        folder = source / f"{number % 7}" / ("很长的名字" * 16 if number % 50 == 0 else "talks")
        folder.mkdir(parents=True, exist_ok=True)
        if number % 5:
            shutil.copy(names[number % len(names)], folder / f"录音 {number:03}.wav")
        else:
            (folder / f"bad {number:03}.mp3").write_bytes(os.urandom(number * 10))
    files = {}
    for name, more in (("local", ()), ("ray", ("--address", "local"))):
        output = tmp_path / name
        program = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "scripts/transcribe_archive.py",
                str(source),
                str(output),
                "--formats",
                "json,srt",
                *more,
            ),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert await program.wait() == 1  # some failed
        files[name] = {path.relative_to(output): json.loads(path.read_bytes()) for path in output.rglob("*.json")}
        assert len(list(output.rglob("*.srt"))) == 240
        assert [row["status"] for row in rows(output)].count("failed") == 60
    assert len(files["local"]) == 240
    assert files["local"].keys() == files["ray"].keys()
    for name, here in files["local"].items():
        there = files["ray"][name]
        assert timeless(here) == timeless(there)
        assert times(here) == pytest.approx(times(there), abs=0.1)


def words(result: dict) -> list[dict]:
    return [part for segment in result["segments"] for part in (segment, *segment["words"])]


def timeless(result: dict) -> list[str]:
    return [result["text"], *(part.get("word", part.get("text")) for part in words(result))]


def times(result: dict) -> list[float]:
    return [result["duration"], *(edge for part in words(result) for edge in (part["start"], part["end"]))]
