#!/usr/bin/env python3
"""Hands-free conversations with recorded people: who is cut off, who waits, what is lost, how soon the answer gives way.

    python3 scripts/benchmarks/turns.py                      # the recordings of the tests; minutes
    python3 scripts/benchmarks/turns.py --recordings FOLDER  # WAV files and their transcripts.json

Method. The session, its turn table, its voice activity and its model for the end of turns are the service's own; only the wire,
the engine and the voice are the tests' fakes, and time is virtual: the same on any machine, and no model is ever too late. The
microphone comes in 40 ms messages. The engine's first sound is there 0.25 s after the end of the turn (`--answer-s`), an answer
lasts 3 s.

Each recording is cut at up to `--cuts` of its quietest ends of words, at least 0.35 s from its own ends, and a pause is put there:
nobody said it so, and words stop as if they went on or were the last, which is harder than a real pause to think. The ends of
words are those that pocketsphinx aligns.

    cut      turns in which an answer was heard before the user was done; the turn does not go on with both parts
    lost     turns of which some of the speech is in no turn that was answered
    back     answers that were begun in the pause and taken back unheard, per turn
    wait     from the end of the speech to the end of the turn
    sound    from the end of the speech to the first sound of the answer
    late     turns that waited more than 2 s
    extra    answers to nobody, per turn

Reports as report.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pocketsphinx import Decoder
from prometheus_client import CollectorRegistry

from scripts.benchmarks.load.backgrounds import level, music, noise
from scripts.benchmarks.report import Report, quantile_ms
from tests.web_demo.server.conversation.talk import FakeSynthesizer, FakeWire
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.audio.end_of_turn import EndModel, find
from web_demo.audio.patience import EAGERNESS, EndOfTurn
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Audio, Samples, from_wav, to_int16
from web_demo.audio.vad import VadRules
from web_demo.engines.base import Heard, SpeechText, Step, TextDelta, TurnRequest
from web_demo.engines.fakes import SAMPLES_PER_CHARACTER, ScriptedS2s
from web_demo.server.conversation.events import (
    AnswerBegan,
    AudioIn,
    ClientEvent,
    Configure,
    Interrupted,
    ReplyAudio,
    ServerEvent,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.session import Session, SessionLimits
from web_demo.server.s2s.settings import S2sSettings

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests/data/speech"
MESSAGE = round(0.04 * SPEECH_RATE)
PAUSES_S = (0.3, 0.5, 0.7, 0.9, 1.2)
BEFORE_S, AFTER_S = 0.8, 4.0  # of the room, round what is said
ROOM_DB = -66.0  # of full scale
ANSWER_S = 3.0
MODES = {
    "timer 600 ms": SessionOptions(turn_detection=VadRules()),
    **{
        f"meaning, {name}": SessionOptions(turn_detection=VadRules(), patience=EAGERNESS[name])
        for name in ("high", "medium", "low")
    },
}


# --- what is said -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sentence:
    """Nothing but the speech, at SPEECH_RATE, and where a pause may be put into it, in samples."""

    name: str
    samples: Samples
    cuts: tuple[int, ...]
    end: int  # of the last word


def sentences(folder: Path, cuts: int) -> list[Sentence]:
    """Of a folder of WAV files with what is said in them, `transcripts.json`."""
    decoder = Decoder(loglevel="FATAL")
    found = []
    for name, text in json.loads((folder / "transcripts.json").read_text("utf-8")).items():
        samples = from_wav((folder / f"{name}.wav").read_bytes()).at(SPEECH_RATE).samples
        start, end = _speech(samples)
        *words, last = [place - start for place in _word_ends(decoder, samples, text)]
        places = tuple(sorted(_quietest(samples[start:end], words, cuts)))
        if places:
            found.append(Sentence(name, samples[start:end], places, last))
    return found


def _word_ends(decoder: Decoder, samples: Samples, text: str) -> list[int]:
    """Between words, as pocketsphinx aligns them with the sound."""
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw(to_int16(samples).tobytes(), full_utt=True)
    decoder.end_utt()
    return [(word.end_frame + 1) * SPEECH_RATE // 100 for word in decoder.seg() if not word.word.startswith("<")]


def _loudness(samples: Samples, hop: int = 160, window: int = 400) -> Samples:
    """[n / hop] dB."""
    power = np.convolve(np.square(samples), np.full(window, 1 / window), "same")[::hop]
    loudness: Samples = (10 * np.log10(power + 1e-10)).astype(np.float32)
    return loudness


def _speech(samples: Samples) -> tuple[int, int]:
    (loud,) = np.nonzero(_loudness(samples) > _loudness(samples).max() - 30)
    return int(loud[0]) * 160, (int(loud[-1]) + 1) * 160


def _quietest(samples: Samples, places: Sequence[int], most: int) -> list[int]:
    """The quietest of the places, no two within half a second, none within 0.35 s of the ends."""
    loudness = _loudness(samples)
    found: list[int] = []
    for place in sorted(places, key=lambda place: float(loudness[min(place // 160, len(loudness) - 1)])):
        inside = 0.35 * SPEECH_RATE <= place <= len(samples) - 0.35 * SPEECH_RATE
        if inside and all(abs(place - other) >= SPEECH_RATE // 2 for other in found):
            found.append(place)
    return found[:most]


# --- one conversation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Course:
    """What became of one: events with their time, and the sound of each turn that was answered and not taken back."""

    events: list[tuple[float, ServerEvent]]
    answered: list[Audio]
    began: dict[int, float]  # turn: when, of those
    sounded: dict[int, float]


@dataclass(frozen=True, eq=False)
class Echo:
    """The machine says `voice` (at SPEECH_RATE), and the microphone hears it."""

    voice: Samples
    db: float = -12.0
    delay_s: float = 0.3


Microphone = Callable[[int, float | None], Samples]  # (message, since when the answer sounds) to its samples


def converse(
    microphone: Microphone,
    messages: int,
    mode: str,
    model: EndModel | None,
    answer_s: float,
    voice: Samples | None = None,
) -> Course:
    course: Course = run(_converse(microphone, messages, MODES[mode], model, answer_s, voice))
    return course


async def _converse(
    microphone: Microphone,
    messages: int,
    options: SessionOptions,
    model: EndModel | None,
    answer_s: float,
    voice: Samples | None,
) -> Course:
    wire, loop = FakeWire(), asyncio.get_running_loop()

    def script(turn: TurnRequest) -> Sequence[Step | float | Exception]:
        return [
            Heard("?"),
            answer_s,
            TextDelta("…"),
            SpeechText("x" * round(ANSWER_S * WIRE_RATE / SAMPLES_PER_CHARACTER)),
        ]

    engine, synthesizer = ScriptedS2s(script), FakeSynthesizer()
    if voice is not None:
        synthesizer.voice = Audio(voice, SPEECH_RATE).at(WIRE_RATE).samples
    judge = EndOfTurn(model) if model is not None else None
    session = Session(
        wire,
        engine=engine,
        detokenizer=synthesizer,
        metrics=S2sMetrics(CollectorRegistry()),
        limits=SessionLimits(),
        options=SessionOptions(),
        end_of_turn=judge,
        now=loop.time,
    )

    def sounds_since() -> float | None:
        since = None
        for at, event in wire.sent:
            if isinstance(event, ReplyAudio):
                since = at if since is None else since
            elif isinstance(event, AnswerBegan | Interrupted):
                since = None
        return since

    async def incoming() -> AsyncGenerator[ClientEvent, None]:
        yield Configure(options)
        for message in range(messages):
            await asyncio.sleep(MESSAGE / SPEECH_RATE)
            yield AudioIn(to_int16(microphone(message, sounds_since())).tobytes())

    await session.run(incoming())
    if judge is not None:
        judge.close()
    back = {event.turn for _, event in wire.sent if isinstance(event, Interrupted) and event.goes_on}
    began = {event.turn: at for at, event in wire.sent if isinstance(event, AnswerBegan) and event.turn not in back}
    sounded: dict[int, float] = {}
    for at, event in wire.sent:
        if isinstance(event, ReplyAudio):
            sounded.setdefault(event.turn, at)
    kept = [turn.audio for number, turn in enumerate(engine.turns, 1) if number not in back and turn.audio]
    return Course(wire.sent, kept, began, sounded)


def recorded(sound: Samples, db: float = ROOM_DB) -> Microphone:
    """In a room."""
    room = level(noise(len(sound)), db) + sound

    def microphone(message: int, _: float | None) -> Samples:
        return room[message * MESSAGE : (message + 1) * MESSAGE]

    return microphone


# --- the tables -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    cut: bool
    lost: bool
    back: int
    wait_s: float
    sound_s: float
    extra: int


def paused(sentence: Sentence, cut: int, pause_s: float) -> tuple[Samples, float]:
    """The sentence with a pause in it, and when it ends, in seconds."""
    first, second = sentence.samples[:cut], sentence.samples[cut:]
    quiet = [np.zeros(round(seconds * SPEECH_RATE), np.float32) for seconds in (BEFORE_S, pause_s, AFTER_S)]
    sound = np.concatenate((quiet[0], first, quiet[1], second, quiet[2]))
    return sound, BEFORE_S + pause_s + sentence.end / SPEECH_RATE


def turn_of(course: Course, sentence: Sentence, end_s: float) -> Turn:
    """What the one sentence came to. The turn that is the user's is the last that began within 2.5 s of its end."""
    early = [turn for turn, at in course.sounded.items() if at < end_s and turn in course.began]
    own = [turn for turn, at in course.began.items() if end_s - 0.1 <= at]
    first = own[0] if own else None
    spoken = float(np.square(sentence.samples).sum())
    understood = sum(float(np.square(audio.samples).sum()) for audio in course.answered)
    return Turn(
        cut=bool(early),
        lost=understood < 0.97 * spoken,
        back=sum(isinstance(event, Interrupted) and event.goes_on for _, event in course.events),
        wait_s=course.began[first] - end_s if first is not None else float("nan"),
        sound_s=course.sounded.get(first, float("nan")) - end_s if first is not None else float("nan"),
        extra=max(len(own) - 1, 0),
    )


def row(turns: Sequence[Turn]) -> dict[str, Any]:
    def percent(count: int) -> float:
        return round(100 * count / len(turns), 1)

    waits = [turn.wait_s for turn in turns if not math.isnan(turn.wait_s)]
    sounds = [turn.sound_s for turn in turns if not math.isnan(turn.sound_s)]
    return {
        "turns": len(turns),
        "cut_%": percent(sum(turn.cut for turn in turns)),
        "lost_%": percent(sum(turn.lost for turn in turns)),
        "back": round(sum(turn.back for turn in turns) / len(turns), 2),
        "wait_ms": _quantiles(waits),
        "sound_ms": _quantiles(sounds),
        "late_%": percent(sum(not turn.wait_s <= 2.0 for turn in turns)),
        "extra": round(sum(turn.extra for turn in turns) / len(turns), 2),
    }


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": quantile_ms(seconds, 0.5), "p95": quantile_ms(seconds, 0.95)}


def pauses(
    report: Report, spoken: Sequence[Sentence], model: EndModel | None, modes: Sequence[str], answer_s: float
) -> None:
    for pause_s in PAUSES_S:
        for mode in modes:
            turns = []
            for sentence, cut in _cuts(spoken):
                sound, end_s = paused(sentence, cut, pause_s)
                course = converse(recorded(sound), len(sound) // MESSAGE, mode, model, answer_s)
                turns.append(turn_of(course, sentence, end_s))
            report.row("pauses", pause_s=pause_s, mode=mode, **row(turns))


def _cuts(spoken: Sequence[Sentence]) -> Iterator[tuple[Sentence, int]]:
    return ((sentence, cut) for sentence in spoken for cut in sentence.cuts)


def rooms(
    report: Report, spoken: Sequence[Sentence], model: EndModel | None, modes: Sequence[str], answer_s: float
) -> None:
    """All the time, 15 dB below the user: whether it cuts off, holds open, or is answered. A pause of 0.9 s is in the sentence."""

    def babble(sentence: Sentence, samples: int) -> Samples:
        others = [level(other.samples, -15.0) for other in spoken if other is not sentence]
        return np.resize(np.concatenate(others), samples)

    backgrounds: dict[str, Callable[[Sentence, int], Samples]] = {
        "noise": lambda _, samples: noise(samples, 1),
        "music": lambda _, samples: music(samples),
        "a talker": babble,
    }
    for name, background in backgrounds.items():
        for mode in modes:
            turns = []
            for sentence in spoken:
                sound, end_s = paused(sentence, sentence.cuts[0], 0.9)
                own_db = 10 * float(np.log10(np.square(sentence.samples).mean()))
                around = level(background(sentence, len(sound)), own_db - 15)
                around[: round(BEFORE_S * SPEECH_RATE)] = 0.0  # the user is known before it begins
                course = converse(recorded(sound + around), len(sound) // MESSAGE, mode, model, answer_s)
                turns.append(turn_of(course, sentence, end_s))
            report.row("rooms", background=name, mode=mode, **row(turns))


def barge_in(report: Report, spoken: Sequence[Sentence], answer_s: float) -> None:
    """The user speaks a second after the first sound of the answer, which is a person's voice, with and without its echo."""
    for echo_db in (-120.0, -12.0):
        for speaks in (False, True):
            times, interrupted = [], 0
            for number, sentence in enumerate(spoken):
                machine, user = spoken[number - 1], spoken[number - 2]
                echo = Echo(np.resize(level(machine.samples, -20.0), round(ANSWER_S * SPEECH_RATE)), echo_db)
                at, course = _over(sentence, echo, level(user.samples, -20.0) if speaks else None, answer_s)
                cut = [when for when, event in course.events if isinstance(event, Interrupted)]
                interrupted += bool(cut)
                times += [when - at for when in cut[:1] if speaks]
            report.row(
                "answers",
                echo_db="none" if echo_db < -100 else echo_db,
                user="speaks" if speaks else "is silent",
                answers=len(spoken),
                interrupted=interrupted,
                after_ms=_quantiles(times),
            )


def _over(sentence: Sentence, echo: Echo, user: Samples | None, answer_s: float) -> tuple[float, Course]:
    """A question, and what is said over its answer. Returns when the user begins to speak again, too."""
    question = np.concatenate((np.zeros(round(BEFORE_S * SPEECH_RATE), np.float32), level(sentence.samples, -20.0)))
    messages = len(question) // MESSAGE + round(6.0 * SPEECH_RATE / MESSAGE)
    room = level(noise(messages * MESSAGE), ROOM_DB)
    room[: len(question)] += question
    began: list[int] = []  # the message in which the answer was first heard

    def microphone(message: int, sounds_since: float | None) -> Samples:
        start = message * MESSAGE
        if sounds_since is not None and not began:
            began.append(message)
        sound = room[start : start + MESSAGE].copy()
        if sounds_since is not None:
            now = (message + 1) * MESSAGE / SPEECH_RATE
            heard = round((now - sounds_since - echo.delay_s) * SPEECH_RATE) - MESSAGE
            sound += _part(echo.voice, heard) * np.float32(10 ** (echo.db / 20))
        if began and user is not None:
            sound += _part(user, start - (began[0] * MESSAGE + SPEECH_RATE))
        return sound

    course = converse(microphone, messages, "timer 600 ms", None, answer_s, echo.voice)
    return (began[0] * MESSAGE / SPEECH_RATE + 1.0 if began else float("nan")), course


def _part(sound: Samples, start: int) -> Samples:
    """A message of it, silence outside."""
    part = np.zeros(MESSAGE, np.float32)
    first, last = max(start, 0), min(start + MESSAGE, len(sound))
    if first < last:
        part[first - start : last - start] = sound[first:last]
    return part


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, default=RECORDINGS)
    parser.add_argument("--cuts", type=int, default=2, help="places for a pause in each recording")
    parser.add_argument(
        "--answer-s", type=float, default=0.25, help="from the end of a turn to the first sound of the answer"
    )
    parser.add_argument("--turn-model", default=S2sSettings.turn_model, help="as the service has it")
    options = parser.parse_args(argv)
    model = find(options.turn_model)
    spoken = sentences(options.recordings, options.cuts)
    if not spoken:
        print(f"no recording in {options.recordings} has words enough for a pause", file=sys.stderr)
        return 2
    modes = list(MODES) if model is not None else ["timer 600 ms"]
    report = Report("turns", model=model.name if model else "none", recordings=len(spoken), answer_s=options.answer_s)
    pauses(report, spoken, model, modes, options.answer_s)
    rooms(
        report, spoken, model, [mode for mode in modes if mode in ("timer 600 ms", "meaning, medium")], options.answer_s
    )
    barge_in(report, spoken, options.answer_s)
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
