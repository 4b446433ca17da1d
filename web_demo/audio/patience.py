"""End of turn by meaning: a model says how finished somebody sounds who has fallen silent, and from that follows how long the
silence is waited out. Beside it stands the timer of the voice activity, which decides where there is no model, or no time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from web_demo.audio.end_of_turn import EndModel
from web_demo.audio.samples import Samples
from web_demo.audio.vad import FRAME_S, VadRules

log = logging.getLogger(__name__)

PAUSE_S = 0.2  # of silence, the least that ends a turn; the model is asked a frame before
DEADLINE_S = 0.4  # for its answer; then the timer decides
PLACES = max(1, (os.cpu_count() or 1) // 4)  # models at work at once, for all sessions
ASKED_AT_ONCE = 10.0  # by one session; what flickers between voice and silence has the timer
ASKED_A_SECOND = 2.0
FINISHED, UNFINISHED = 0.9, 0.3  # at and above the one an end is waited for least, at and below the other longest


@dataclass(frozen=True)
class Wait:
    """Counted from the last sound of the voice, in seconds: the turn ends at `end_s` and its answer is begun; nothing of the answer
    is heard before `heard_s`, so a voice that comes back until then goes on with the turn."""

    end_s: float
    heard_s: float


@dataclass(frozen=True)
class Patience:
    """How long is waited for somebody who sounds unfinished, and how sure the model must be for an answer to be heard at once."""

    longest_s: float
    sure: float
    heard_s: float

    def after(self, probability: float) -> Wait:
        """`probability` that the speaker has finished, 0..1."""
        doubt = min(max((FINISHED - probability) / (FINISHED - UNFINISHED), 0.0), 1.0)
        end_s = PAUSE_S + doubt * (self.longest_s - PAUSE_S)
        return Wait(end_s, end_s if probability >= self.sure else max(end_s, self.heard_s))


def patient(rules: VadRules) -> VadRules:
    """Of a detector whose pauses are judged: it also notices them, before the timer ends anything."""
    pause_s = PAUSE_S - FRAME_S  # so that the frame which makes it whole can end the turn
    return replace(rules, pause_s=pause_s, min_silence_s=max(rules.min_silence_s, PAUSE_S))


NEVER = math.inf

# As OpenAI's Realtime API names them; its "auto" is "medium".
EAGERNESS = {
    "low": Patience(longest_s=3.0, sure=NEVER, heard_s=1.6),
    "medium": Patience(longest_s=1.5, sure=NEVER, heard_s=1.3),
    "high": Patience(longest_s=0.8, sure=FINISHED, heard_s=0.8),
}
EAGERNESS["auto"] = EAGERNESS["medium"]


class EndOfTurn:
    """The model for all sessions of a service: off the event loop, PLACES at once, in threads of its own, so that neither decoding
    nor anybody's conversation waits for it."""

    def __init__(self, model: EndModel, *, deadline_s: float = DEADLINE_S) -> None:
        self.name = model.name
        self._model = model
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(PLACES, thread_name_prefix="end-of-turn")

    async def ask(self, samples: Samples) -> float | None:
        """How likely it is that the speaker has finished, of a turn's sound at SPEECH_RATE; None when that takes too long."""
        answer = asyncio.get_running_loop().run_in_executor(self._threads, self._model.probability, samples)
        done, _ = await asyncio.wait({answer}, timeout=self._deadline_s)
        if not done:
            answer.cancel()  # takes it out of the queue if it has not begun
            return None
        if (error := answer.exception()) is not None:
            log.error("the model for the end of turns failed: the timer decides", exc_info=error)
            return None
        return answer.result()

    def judge(self, samples: Samples) -> float | None:
        """The same for a thread that has nothing else to do."""
        answer = self._threads.submit(self._model.probability, samples)
        try:
            return answer.result(self._deadline_s)
        except TimeoutError:
            answer.cancel()
        except Exception:  # whatever a model raises
            log.exception("the model for the end of turns failed: the timer decides")
        return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
