"""The voices of sherpa-onnx that are known here, each by the layout of its released folder. Pure but for looking at files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from web_demo.engines.onnx_models import Layout, first, folders, metadata, one_of

DEFAULT_FOLDER = "Fun-CosyVoice3-0.5B-2512"  # of --model-path: then the models beside it count
VOCODER = "vocos-16khz-univ.onnx"  # of Matcha; beside its folder or in it
ENGLISH = ("lexicon-us-en.txt", "lexicon-en-us.txt")


@dataclass(frozen=True)
class Speaker:
    number: int
    language: str  # ISO 639


@dataclass(frozen=True)
class Matcha:
    """Matcha zh-en (https://modelscope.cn/models/dengcunqin/matcha_tts_zh_en_20251010): one woman, Chinese and English mixed. Its
    own lexicon is Chinese."""

    folder: Path
    acoustic: Path
    vocoder: Path
    tokens: Path
    lexicons: tuple[Path, ...]

    languages = ("zh", "en")

    @property
    def speakers(self) -> Mapping[str, Speaker]:
        return {"中文女": Speaker(0, "zh"), "英文女": Speaker(0, "en")}

    @classmethod
    def in_folder(cls, folder: Path) -> Matcha | None:
        acoustic = one_of(folder, *(f"model-steps-{steps}.onnx" for steps in (3, 4, 5, 6, 2)))
        lexicon, tokens = one_of(folder, "lexicon.txt"), one_of(folder, "tokens.txt")
        if acoustic is None or lexicon is None or tokens is None:
            return None
        if metadata(acoustic).get("voice") != "zh en-us":  # the other Matcha models know one language
            return None
        vocoder = one_of(folder, VOCODER) or one_of(folder.parent, VOCODER)
        english = one_of(folder, *ENGLISH)
        lexicons = (lexicon,) if english is None else (lexicon, english)
        return None if vocoder is None else cls(folder, acoustic, vocoder, tokens, lexicons)

    @property
    def has_english(self) -> bool:
        return len(self.lexicons) > 1


# The first letter of a Kokoro speaker's name. Those of other languages are left out: the library pronounces what its lexicons have.
_KOKORO_LANGUAGES = {"z": "zh", "a": "en", "b": "en"}
_KOKORO_CLASSICS = {"中文女": "zf", "中文男": "zm", "英文女": "af", "英文男": "am"}  # by the beginnings of names


@dataclass(frozen=True)
class Kokoro:
    """Kokoro multi-lang (https://huggingface.co/hexgrad/Kokoro-82M, and -v1.1-zh): many speakers, each of one language."""

    folder: Path
    model: Path
    voices: Path
    tokens: Path
    lexicons: tuple[Path, ...]
    names: tuple[str, ...]  # of all speakers, by number

    languages = ("zh", "en")
    has_english = True

    @property
    def speakers(self) -> Mapping[str, Speaker]:
        """Those of a language that is spoken here: the classic names first, then language by language."""
        known = {
            name: Speaker(number, _KOKORO_LANGUAGES[name[0]])
            for number, name in enumerate(self.names)
            if name[:1] in _KOKORO_LANGUAGES
        }
        classics = {
            classic: next(speaker for name, speaker in known.items() if name.startswith(prefix))
            for classic, prefix in _KOKORO_CLASSICS.items()
            if any(name.startswith(prefix) for name in known)
        }
        listed = sorted(known.items(), key=lambda item: (self.languages.index(item[1].language), item[0]))
        return {**classics, **dict(listed)}

    @classmethod
    def in_folder(cls, folder: Path) -> Kokoro | None:
        model = one_of(folder, "model.int8.onnx", "model.onnx")
        voices, tokens = one_of(folder, "voices.bin"), one_of(folder, "tokens.txt")
        chinese, english = one_of(folder, "lexicon-zh.txt"), one_of(folder, *ENGLISH)
        if model is None or voices is None or tokens is None or chinese is None or english is None:
            return None
        names = tuple(filter(None, metadata(model).get("speaker_names", "").split(",")))
        found = cls(folder, model, voices, tokens, (english, chinese), names)
        return found if found.speakers else None


Model = Matcha | Kokoro
PREFERENCE: tuple[Layout[Model], ...] = (Matcha, Kokoro)


def find(path: Path | None) -> Model | None:
    """The voice in `path`; where that is the default or holds several, the best one there. Raises SetupError for a damaged
    model."""
    places = folders(path, DEFAULT_FOLDER)
    return first(PREFERENCE, places[:1]) or first(PREFERENCE, places)
