"""What the cosyvoice engine uses of upstream's code, with upstream's signatures and its traps, and no model: it is
written into a folder as `cosyvoice/cli/cosyvoice.py`."""

SOURCE = """
from pathlib import Path

import numpy as np

CALLS = []


class Tensor:
    def __init__(self, samples):
        self.samples = samples

    def cpu(self):
        return self

    def numpy(self):
        return self.samples


class Frontend:
    def __init__(self):
        self.spk2info = {}


class CosyVoice3:
    sample_rate = 24000

    def __init__(self, **options):
        self.options = options
        self.frontend = Frontend()
        self.running = 0
        CALLS.append(("load", options))

    def add_zero_shot_spk(self, prompt_text, prompt_wav, zero_shot_spk_id):
        CALLS.append(("add", prompt_text, Path(prompt_wav).read_bytes()[:4], str(prompt_wav)))
        self.frontend.spk2info[zero_shot_spk_id] = prompt_text

    def _tts(self, how, text, voice, stream, speed, text_frontend):
        assert self.running == 0, "two at once"
        self.running += 1
        CALLS.append((how, text, self.frontend.spk2info[voice], stream, speed, text_frontend))
        if "[boom]" in text:
            self.running -= 1
            raise RuntimeError("out of memory")
        for number in range(4):
            yield {"tts_speech": Tensor(np.full((1, 100), 0.1 * (number + 1), np.float32))}
        self.running -= 1  # not in a finally: as upstream, an iterator that is closed early leaves its state behind
        CALLS.append(("ended", text))

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
"""
