"""The detokenizer child, for real: a process, a channel, its death and its return."""

import asyncio
import os
import signal

import numpy as np
import pytest

from tests.talk import until
from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.supervisor import Detokenizer, Speech
from web_demo.detokenizer.worker import LOST_STATUS
from web_demo.errors import EngineFailed, SetupError

TONE = BackendSpec("web_demo.engines.fakes:ToneBackend")


async def sound_of(speech: Speech, **window) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *[samples async for samples in speech.say(**window)]])


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_text_and_codes_become_sound_of_the_right_length():
    async with Detokenizer(TONE) as detokenizer:
        assert (detokenizer.ready.backend, detokenizer.ready.sample_rate) == ("tone", 24_000)
        async with await detokenizer.open("a") as speech:
            assert len(await sound_of(speech, text="hello")) == 5 * 1200
            assert len(await sound_of(speech, codes=(1, 2, 3), last=True)) == 3 * 960


async def test_two_turns_at_once_each_get_their_own_sound():
    async with Detokenizer(TONE) as detokenizer:
        a, b = await detokenizer.open("a"), await detokenizer.open("b")
        lengths = await asyncio.gather(*(sound_of(s, text=t) for s, t in ((a, "x" * 40), (b, "y" * 7))))
        assert [len(sound) for sound in lengths] == [40 * 1200, 7 * 1200]
        a.close()
        b.close()


async def test_closing_a_turn_ends_its_work_so_that_the_next_is_served_at_once():
    async with Detokenizer(TONE) as detokenizer:
        slow = await detokenizer.open("slow")
        async for _ in slow.say(text="[slow]" + "x" * 2000):  # 100 s of sound, in 50 ms steps
            break
        slow.close()
        async with asyncio.timeout(3.0), await detokenizer.open("next") as speech:
            assert len(await sound_of(speech, text="x")) == 1200


async def test_a_failing_window_fails_its_turn_and_not_the_process():
    async with Detokenizer(TONE) as detokenizer:
        pid = detokenizer.pid
        async with await detokenizer.open("a") as speech:
            with pytest.raises(EngineFailed, match="told to raise"):
                await sound_of(speech, text="[raise]")
        async with await detokenizer.open("b") as speech:
            assert len(await sound_of(speech, text="x")) == 1200
        assert detokenizer.pid == pid


async def test_a_lost_device_fails_its_turns_in_words_and_the_next_one_is_served_by_a_new_process(caplog):
    restarts = []
    async with Detokenizer(TONE, on_restart=lambda: restarts.append(1)) as detokenizer:
        pid = detokenizer.pid
        lost, beside = await detokenizer.open("lost"), await detokenizer.open("beside")
        sounds = await asyncio.gather(
            sound_of(lost, text="[lose]"), sound_of(beside, text="x", deadline=1.0), return_exceptions=True
        )
        assert [type(error) for error in sounds] == [EngineFailed, EngineFailed]
        assert "its GPU failed; it is being restarted" in str(sounds[0])
        assert "stopped unexpectedly; it is being restarted" in str(sounds[1])
        await until(lambda: detokenizer.pid not in (pid, None))
        async with await detokenizer.open("next") as speech:
            assert len(await sound_of(speech, text="x")) == 1200
        assert restarts == [1]
    assert f"status={LOST_STATUS}" in caplog.text


async def test_an_unknown_voice_is_an_error_of_that_turn():
    async with Detokenizer(TONE) as detokenizer, await detokenizer.open("a", voice="nobody") as speech:
        with pytest.raises(EngineFailed, match="no such voice"):
            await sound_of(speech, text="x")


@pytest.mark.parametrize("how", ["killed", "crashed"])
async def test_when_the_child_dies_waiting_turns_fail_and_the_next_one_works(how):
    restarts = []
    async with Detokenizer(TONE, on_restart=lambda: restarts.append(1)) as detokenizer:
        pid = detokenizer.pid
        waiting = await detokenizer.open("waiting")
        sound = asyncio.create_task(sound_of(waiting, text="[slow]" + "x" * 2000))
        await asyncio.sleep(0.1)
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            crashing = await detokenizer.open("crashing")
            waiting.close()  # the child is busy with it
            with pytest.raises(EngineFailed, match="stopped unexpectedly"):
                await sound_of(crashing, text="[die]")
            sound.cancel()
        if how == "killed":
            with pytest.raises(EngineFailed, match="stopped unexpectedly"):
                await sound
        await asyncio.gather(sound, return_exceptions=True)
        async with await detokenizer.open("next") as speech:
            assert len(await sound_of(speech, text="x")) == 1200
        assert detokenizer.pid != pid
        assert restarts == [1]


async def test_a_turn_from_before_the_death_fails_instead_of_waiting_for_ever():
    async with Detokenizer(TONE) as detokenizer:
        old = await detokenizer.open("old")
        os.kill(detokenizer.pid, signal.SIGKILL)
        await until(lambda: detokenizer.fault() is not None)
        await until(lambda: detokenizer.fault() is None)
        with pytest.raises(EngineFailed):
            await sound_of(old, text="x")


async def test_a_backend_that_cannot_start_says_why():
    spec = BackendSpec("web_demo.engines.fakes:ToneBackend", {"start_error": "no weights in /nowhere"})
    with pytest.raises(SetupError, match="no weights in /nowhere"):
        await Detokenizer(spec).start()


async def test_a_factory_that_does_not_exist_is_a_setup_error():
    with pytest.raises(SetupError, match="cannot start"):
        await Detokenizer(BackendSpec("web_demo.engines.fakes:Nothing")).start()


async def test_closing_leaves_no_process():
    detokenizer = Detokenizer(TONE)
    await detokenizer.start()
    pid = detokenizer.pid
    await detokenizer.close()
    assert gone(pid)


async def test_a_child_that_was_stopped_cold_is_killed_at_close(monkeypatch):
    detokenizer = Detokenizer(TONE)
    monkeypatch.setattr(detokenizer._child, "_stop_s", 0.2)
    await detokenizer.start()
    pid = detokenizer.pid
    os.kill(pid, signal.SIGSTOP)
    await detokenizer.close()
    assert gone(pid)


async def test_a_stuck_child_is_replaced(monkeypatch):
    monkeypatch.setattr("web_demo.children.supervisor.PING_S", 0.05)
    async with Detokenizer(TONE) as detokenizer:
        detokenizer._child._silent_s = 0.3
        pid = detokenizer.pid
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: detokenizer.pid not in (pid, None))
        async with await detokenizer.open("a") as speech:
            assert len(await sound_of(speech, text="x")) == 1200
