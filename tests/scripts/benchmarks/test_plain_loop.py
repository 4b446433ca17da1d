"""The plain loop that archives are measured against does the same work."""

from scripts.benchmarks.load.plain_loop import decoded, transcribe
from tests.web_demo.server.asr.helpers import SPEECH, go, speech
from web_demo.engines.asr.pocketsphinx_worker import Decoded, DecodeTask
from web_demo.engines.base import Segment


def test_all_of_a_long_recording_is_recognised_in_order():
    heard: list[int] = []

    def recognise(task: DecodeTask) -> Decoded:
        heard.append(len(task.samples))
        return Decoded((Segment(str(len(heard)), 0.0, 1.0),), ())

    assert transcribe(speech(8, 1.0).samples, recognise) == " ".join(str(number + 1) for number in range(len(heard)))
    assert len(heard) > 1
    assert sum(heard) > 8 * len(go().samples)


def test_a_file_is_decoded_as_it_is():
    assert (decoded(SPEECH / "go_forward_ten_meters.wav") == go().samples).all()
