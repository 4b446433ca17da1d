"""Facts of CosyVoice3 that both of its engines need, upstream's code and our own: its languages, its voices, what it can do."""

from __future__ import annotations

from pathlib import Path

from web_demo.text.scripts import script_runs

SUBMODULE = Path(__file__).resolve().parents[3] / "third_party" / "CosyVoice"

LANGUAGES = ("zh", "en", "ja", "ko", "de", "es", "fr", "it", "ru")
SPEEDS = (0.5, 2.0)
MIN_PIECE_CHARS, MAX_PIECE_CHARS = 10, 120  # a piece is spoken in one go: no mere word, and short enough to stay stable

# It has no built-in speakers: the classic names speak with the recording that comes with upstream's code.
REFERENCE_WAV = "asset/zero_shot_prompt.wav"
REFERENCE_TEXT = "希望你以后能够做的比我还好呦。"
DEFAULT_VOICE = "中文女"
BUILT_IN = {  # name -> how to speak, "" where the text says enough
    DEFAULT_VOICE: "",
    "中文男": "",
    "英文女": "",
    "英文男": "",
    "日语男": "",
    "粤语女": "请用广东话表达。",
    "韩语女": "",
}


def same_script(text: str, prompt_text: str) -> bool:
    """Whether the words of a recording help to say `text`; another language is better spoken without them."""
    scripts = {script for script, _ in script_runs(text)} - {None}
    return not scripts or not scripts.isdisjoint(script for script, _ in script_runs(prompt_text))
