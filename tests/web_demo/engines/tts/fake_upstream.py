"""What the cosyvoice engine uses of upstream's code, with upstream's signatures and its traps, and no model: `write` puts it
into a folder as `cosyvoice/cli/cosyvoice.py`. It tells what was called in `calls.jsonl` beside it.

Its traps are upstream's: a thread that makes tokens and a loop that waits for its flag for ever, a first chunk that grows with
every stream, state that only a good end forgets, users' texts in the log. A text names the fault that it wants: [thread].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from web_demo.audio.samples import silence, to_wav

TOKENS = 150  # of every text; a token is SAMPLES long
SAMPLES = 4

SOURCE = """
import json, logging, os, threading, time, uuid
from pathlib import Path

import numpy as np

logging.basicConfig(level=logging.DEBUG)
FOLDER = Path(__file__).parents[2]


def call(*what):
    with (FOLDER / "calls.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\\n")


class Tensor:
    def __init__(self, samples):
        self.samples = samples

    def cpu(self):
        return self

    def numpy(self):
        return self.samples


class Module:
    def __init__(self, *children):
        self._children, self._hooks = children, []

    def children(self):
        return iter(self._children)

    def modules(self):
        yield self
        for child in self._children:
            yield from child.modules()

    def register_forward_pre_hook(self, hook):
        self._hooks.append(hook)

    def __call__(self):
        for hook in self._hooks:
            hook(self, ())


class Frontend:
    def __init__(self):
        self.spk2info = {}


class Model:
    device = "cpu"

    def __init__(self):
        self.llm, self.flow, self.hift = (Module(Module()) for _ in range(3))
        self.token_hop_len = 25
        self.tts_speech_token_dict, self.llm_end_dict, self.hift_cache_dict = {}, {}, {}

    def llm_job(self, text, request):
        for number in range(TOKENS):
            self.llm()
            if number == 40 and "[thread]" in text:
                raise RuntimeError("out of memory")
            if number == 40 and "[wedge]" in text:
                threading.Event().wait()
            while number == 40 and ("[long]" in text or "[deaf]" in text):
                time.sleep(0.01)
                if "[long]" in text:
                    self.llm()
            if number == 40 and "[exit]" in text or number == 5 and "[once]" in text and not (FOLDER / "once").exists():
                (FOLDER / "once").touch()
                os._exit(9)
            self.tts_speech_token_dict[request].append(number)
        self.llm_end_dict[request] = True

    def token2wav(self, text, tokens):
        self.flow()
        if "[boom]" in text:
            raise RuntimeError("no sound")
        return {"tts_speech": Tensor(np.full((1, len(tokens) * SAMPLES), 0.1, np.float32))}

    def tts(self, text, stream):
        assert not self.llm_end_dict, "two at once, or something was left behind"
        request = str(uuid.uuid1())
        self.tts_speech_token_dict[request], self.llm_end_dict[request] = [], False
        thread = threading.Thread(target=self.llm_job, args=(text, request))
        thread.start()
        tokens, offset = self.tts_speech_token_dict[request], 0
        while stream:
            time.sleep(0.001)
            if len(tokens) - offset >= self.token_hop_len + 3:
                yield self.token2wav(text, tokens[offset : offset + self.token_hop_len])
                if "[late]" in text:
                    os._exit(9)
                offset += self.token_hop_len
                self.token_hop_len = min(100, self.token_hop_len * 2)
            if self.llm_end_dict[request] and len(tokens) - offset < self.token_hop_len + 3:
                break
        thread.join()
        yield self.token2wav(text, tokens[offset:])
        self.tts_speech_token_dict.pop(request)
        self.llm_end_dict.pop(request)


class CosyVoice3:
    sample_rate = 24000

    def __init__(self, **options):
        self.frontend, self.model = Frontend(), Model()
        call("load", options, os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid())

    def add_zero_shot_spk(self, prompt_text, prompt_wav, zero_shot_spk_id):
        call("add", prompt_text, Path(prompt_wav).read_bytes()[:4].decode(), str(prompt_wav))
        self.frontend.spk2info[zero_shot_spk_id] = prompt_text

    def _tts(self, how, text, voice, stream, speed, text_frontend):
        call(how, text, self.frontend.spk2info[voice], stream, speed, text_frontend)
        logging.info("synthesis text {}".format(text))
        logging.warning("synthesis text {} too short".format(text))
        yield from self.model.tts(text, stream)
        call("ended", text, len(self.frontend.spk2info))

    def inference_zero_shot(self, tts_text, prompt_text, prompt_wav,
        zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True):
        yield from self._tts("zero_shot", tts_text, zero_shot_spk_id, stream, speed, text_frontend)

    def inference_cross_lingual(self, tts_text, prompt_wav,
        zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True):
        yield from self._tts("cross_lingual", tts_text, zero_shot_spk_id, stream, speed, text_frontend)

    def inference_instruct2(self, tts_text, instruct_text, prompt_wav,
        zero_shot_spk_id="", stream=False, speed=1.0, text_frontend=True):
        yield from self._tts("instruct2", tts_text, zero_shot_spk_id, stream, speed, text_frontend)


def AutoModel(**options):
    return CosyVoice3(**options)
""".replace("TOKENS", str(TOKENS)).replace("SAMPLES", str(SAMPLES))


def write(folder: Path, source: str = SOURCE) -> Path:
    for name, content in {
        "cosyvoice/__init__.py": b"",
        "cosyvoice/cli/__init__.py": b"",
        "cosyvoice/cli/cosyvoice.py": source.encode(),
        "third_party/Matcha-TTS/README.md": b"",
        "asset/zero_shot_prompt.wav": to_wav(silence(1, 16_000)),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def calls(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
