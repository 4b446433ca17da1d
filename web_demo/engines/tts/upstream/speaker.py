"""Upstream's model in the child: one request after the other, each of which can be stopped.

Upstream's own thread makes speech tokens, the caller's turns them into sound and waits for a flag that the thread sets at its
end. Nothing of it can be cancelled, so every block of layers that is about to compute asks first whether somebody still waits.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from web_demo.engines.tts.upstream.messages import Load, Speak
from web_demo.errors import SetupError

log = logging.getLogger(__name__)

GET_PACKAGES = "./scripts/full_setup.sh --with-cosyvoice"
REMEMBERED_VOICES = 32


class Abandoned(BaseException):
    """Raised in the middle of upstream's work. No Exception, so that no `except Exception` on the way takes it for its own."""


def load(asked: Load) -> Any:
    """Upstream's model. Raises SetupError, and what upstream raises."""
    try:
        from cosyvoice.cli.cosyvoice import AutoModel
    except ImportError as error:
        raise SetupError(
            f"upstream's packages are not installed in {sys.prefix} ({error}); get them with: {GET_PACKAGES}"
        ) from error
    upstream = AutoModel(model_dir=asked.model_path, load_trt=asked.trt, fp16=asked.fp16)
    if device_of(upstream) == "cpu":  # upstream falls back to it, and drops both options, with a line in its log
        if asked.device.startswith("cuda"):
            raise SetupError(f"--device {asked.device}: torch sees no such GPU here; use --device cpu")
        for option, given in (("--use-trt", asked.trt), ("--fp16", asked.fp16)):
            if given:
                raise SetupError(f"{option} of the cosyvoice engine needs an NVIDIA GPU, and torch sees none here")
    return upstream


def device_of(upstream: Any) -> str:
    return str(upstream.model.device).partition(":")[0]


def lost_device(error: BaseException) -> bool:
    """Whether nothing will ever run on the GPU again in this process."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, getattr(torch, "AcceleratorError", ()))


class Speaker:
    """`progress` is called in any thread whenever the model computes, `died` in a thread of upstream's that ended with an error
    other than having been abandoned."""

    def __init__(
        self, upstream: Any, *, progress: Callable[[int], None], died: Callable[[int, BaseException], None]
    ) -> None:
        self._upstream = upstream
        self._model = upstream.model
        self._progress, self._died = progress, died
        self._first_hop = self._model.token_hop_len
        self._voices: OrderedDict[str, None] = OrderedDict()  # names of upstream's cached features, the oldest first
        self._number = 0  # of the request under way
        self._abandoned = 0  # the latest request that nobody waits for
        for part in (self._model.llm, self._model.flow, self._model.hift):
            for block in part.modules():
                if any(True for _ in block.children()):
                    block.register_forward_pre_hook(self._pulse)
        threading.excepthook = self._thread_ended

    def abandon(self, number: int) -> None:
        """From another thread, at any time."""
        self._abandoned = number

    def speak(self, asked: Speak) -> Iterator[bytes]:
        """Chunks of float32 samples. Raises Abandoned, or what upstream raises; the next request may follow."""
        self._number = asked.number
        self._model.token_hop_len = self._first_hop  # upstream lets it grow, and the next listener would wait for it
        others = set(threading.enumerate())
        try:
            for output in self._infer(asked):
                self._pulse()
                yield np.ascontiguousarray(output["tts_speech"].cpu().numpy()[0], np.float32).tobytes()
        except BaseException:
            self.abandon(asked.number)
            for thread in set(threading.enumerate()) - others:
                thread.join()
            for name, state in vars(self._model).items():
                if name.endswith("_dict"):  # of the synthesis that broke off; upstream forgets it at a good end only
                    state.clear()
            raise

    def _infer(self, asked: Speak) -> Iterator[dict[str, Any]]:
        """Its text front end is off: the text came as words, and cut, and it would skip both for text that looks like a token.

        Upstream ignores words given beside a cached voice: they are part of what is cached.
        """
        voice = self._cached(asked.recording, asked.words)
        how = {
            "zero_shot_spk_id": voice,
            "stream": asked.stream,
            "speed": asked.speed,
            "text_frontend": False,
        }
        match asked.how:
            case "cross_lingual":
                return iter(self._upstream.inference_cross_lingual(asked.text, "", **how))
            case "instruct2":
                return iter(self._upstream.inference_instruct2(asked.text, "", "", **how))
            case _:
                return iter(self._upstream.inference_zero_shot(asked.text, "", "", **how))

    def _cached(self, recording: bytes, words: str) -> str:
        """Upstream's name for the features of a recording with its words, computed the first time."""
        name = hashlib.sha256(recording + words.encode()).hexdigest()
        if name not in self._voices:
            with tempfile.TemporaryDirectory() as folder:  # upstream reads files only; gone when it has
                path = Path(folder) / "prompt.wav"
                path.write_bytes(recording)
                self._upstream.add_zero_shot_spk(words, str(path), name)
        self._voices[name] = None
        self._voices.move_to_end(name)
        while len(self._voices) > REMEMBERED_VOICES:
            oldest, _ = self._voices.popitem(last=False)
            self._upstream.frontend.spk2info.pop(oldest, None)
        return name

    def _pulse(self, *_: object) -> None:
        if self._abandoned == self._number:
            raise Abandoned
        self._progress(self._number)

    def _thread_ended(self, args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, Abandoned):
            self._died(self._number, args.exc_value or args.exc_type())
        for request in list(self._model.llm_end_dict):  # what upstream's loop waits for
            self._model.llm_end_dict[request] = True
