"""The plain loop over a folder, in one process: one recording after the other is opened, decoded, cut and recognised, as a script
of somebody's own would do it.

    python3 -m scripts.benchmarks.load.plain_loop FOLDER OUTPUT 0/2     # every second one, from the first on

The decoder, the cuts and the embedded recogniser are the services' own, without cages, queues and other processes. Says "ready" on
standard output when it has loaded them, begins when a line comes on standard input, and says "done" in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Samples, from_int16
from web_demo.engines.asr.cuts import Cutter, join_texts
from web_demo.engines.asr.cutting import LOOK_S
from web_demo.engines.asr.embedded import EmbeddedAsr
from web_demo.engines.asr.pocketsphinx_worker import Decoded, DecodeTask, build
from web_demo.media.decode import FileDecoder, warm_up

LOOK_SAMPLES = round(LOOK_S * SPEECH_RATE)


def main() -> int:
    folder, output = map(Path, sys.argv[1:3])
    number, count = map(int, sys.argv[3].split("/"))
    warm_up()
    recognise = build()
    print("ready", flush=True)
    sys.stdin.readline()
    for path in sorted(folder.iterdir())[number::count]:
        text = transcribe(decoded(path), recognise)
        (output / f"{path.stem}.json").write_text(json.dumps({"text": text}))
    print("done", flush=True)
    return 0


def decoded(path: Path) -> Samples:
    with path.open("rb") as file:
        blocks = list(FileDecoder(file, rate=SPEECH_RATE, max_s=7200.0).blocks())
    return from_int16(np.concatenate(blocks))


def transcribe(samples: Samples, recognise: Callable[[DecodeTask], Decoded]) -> str:
    cutter = Cutter(EmbeddedAsr.max_segment_s)
    looks = [cutter.feed(samples[at : at + LOOK_SAMPLES]) for at in range(0, len(samples), LOOK_SAMPLES)]
    pieces = [piece for look in (*looks, cutter.end()) for piece in look]
    heard = [recognise(DecodeTask(piece.samples)).segments for piece in pieces]
    return join_texts(segment.text for segments in heard for segment in segments)


if __name__ == "__main__":
    sys.exit(main())
