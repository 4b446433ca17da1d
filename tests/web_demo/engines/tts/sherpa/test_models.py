"""Which voice lies in a folder, and whose voices it has."""

from tests import tiny_sherpa
from web_demo.engines.tts.sherpa.engine import create, unavailable
from web_demo.engines.tts.sherpa.models import Kokoro, Matcha, find
from web_demo.engines.tts.text import voice_language
from web_demo.server.tts.settings import TtsSettings


def test_matcha_before_kokoro_and_the_one_that_is_named(tmp_path):
    matcha = tiny_sherpa.matcha(tmp_path / "matcha-icefall-zh-en")
    kokoro = tiny_sherpa.kokoro(tmp_path / "kokoro-int8-multi-lang-v1_1")
    assert isinstance(find(tmp_path / "Fun-CosyVoice3-0.5B-2512"), Matcha)
    assert isinstance(find(kokoro), Kokoro)
    (matcha / "vocos-16khz-univ.onnx").rename(tmp_path / "vocos-16khz-univ.onnx")  # where upstream's pages put it
    assert isinstance(find(matcha), Matcha)
    (tmp_path / "vocos-16khz-univ.onnx").unlink()
    assert find(matcha) is None
    assert "no voice of sherpa-onnx" in unavailable(TtsSettings(model_path=matcha))


def test_kokoros_speakers_stand_by_language_and_those_of_others_do_not(tmp_path):
    names = ("af_bella", "am_adam", "bf_emma", "ef_dora", "jf_alpha", "zf_xiaobei", "zm_yunxi")
    can = create(TtsSettings(model_path=tiny_sherpa.kokoro(tmp_path / "kokoro", names))).capabilities
    classics = ("中文女", "中文男", "英文女", "英文男")
    assert can.voices == (*classics, "zf_xiaobei", "zm_yunxi", "af_bella", "am_adam", "bf_emma")
    assert {voice: voice_language(voice, can) for voice in ("中文男", "zf_xiaobei", "bf_emma")} == {
        "中文男": "zh",
        "zf_xiaobei": "zh",
        "bf_emma": "en",
    }
    assert find(tmp_path / "kokoro").speakers["英文男"].number == 1
