"""The models of a machine without a GPU, for `--engine sherpa`: which files, from where, under which licence.

Sizes and checksums are those that each place lists itself, asked when something is fetched. A place is a repository of Hugging Face
or ModelScope, or the assets of a release of sherpa-onnx on GitHub, where a model is one archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.operations.weights.hub import Hub, HubError, Model, RemoteFile

RELEASES = "k2-fsa/sherpa-onnx"
SOURCES = ("huggingface", "modelscope", "github")  # in the order in which they are tried
HF_MIRROR = "https://hf-mirror.com"  # for what ModelScope does not have, where no HF_ENDPOINT is named


@dataclass(frozen=True)
class Place:
    """`repository` is the release's tag for GitHub, and `files` are then its assets: an archive of the whole folder, or files."""

    source: str
    repository: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class LaptopModel:
    """`files`: what the folder has in the end; `places`: by source, where each of them comes from; `page`: of whoever made it."""

    folder: str
    about: str
    page: str
    files: tuple[str, ...]
    places: Mapping[str, tuple[Place, ...]]


def _from_releases(tag: str, archive: str) -> Place:
    return Place("github", tag, (f"{archive}.tar.bz2",))


_VOCODER = "vocos-16khz-univ.onnx"
_MATCHA = "dengcunqin/matcha_tts_zh_en_20251010"
_SENSE_VOICE = ("model.int8.onnx", "tokens.txt")
_PARAFORMER = ("encoder.int8.onnx", "decoder.int8.onnx", "tokens.txt")
_NANO = (
    "encoder_adaptor.int8.onnx",
    "llm.int8.onnx",
    "embedding.int8.onnx",
    *(f"Qwen3-0.6B/{name}" for name in ("tokenizer.json", "vocab.json", "merges.txt")),
)
_KOKORO = ("model.int8.onnx", "voices.bin", "tokens.txt", "lexicon-us-en.txt", "lexicon-zh.txt")

MODELS: Mapping[str, LaptopModel] = {
    "sense-voice": LaptopModel(
        "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17",
        "recogniser SenseVoice: Chinese, Cantonese, English, Japanese, Korean",
        "https://modelscope.cn/models/iic/SenseVoiceSmall",
        _SENSE_VOICE,
        {
            "huggingface": (
                Place("huggingface", "csukuangfj/sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17", _SENSE_VOICE),
            ),
            "modelscope": (Place("modelscope", "pengzhendong/sherpa-onnx-sense-voice-zh-en-ja-ko-yue", _SENSE_VOICE),),
            "github": (_from_releases("asr-models", "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-int8-2024-07-17"),),
        },
    ),
    "matcha": LaptopModel(
        "matcha-icefall-zh-en",
        "voice Matcha: Chinese and English, one woman",
        f"https://modelscope.cn/models/{_MATCHA}",
        ("model-steps-3.onnx", _VOCODER, "lexicon.txt", "tokens.txt"),
        {
            "huggingface": (
                Place(
                    "huggingface",
                    "csukuangfj/matcha-icefall-zh-en",
                    ("model-steps-3.onnx", "lexicon.txt", "tokens.txt"),
                ),
                Place("modelscope", _MATCHA, (_VOCODER,)),
            ),
            "modelscope": (
                Place("modelscope", _MATCHA, ("model-steps-3.onnx", _VOCODER)),
                Place("huggingface", "csukuangfj/matcha-icefall-zh-en", ("lexicon.txt", "tokens.txt")),
            ),
            "github": (
                _from_releases("tts-models", "matcha-icefall-zh-en"),
                Place("github", "vocoder-models", (_VOCODER,)),
            ),
        },
    ),
    "paraformer": LaptopModel(
        "sherpa-onnx-streaming-paraformer-bilingual-zh-en",
        "recogniser streaming Paraformer: live captions in Chinese and English that grow word by word",
        "https://huggingface.co/csukuangfj/sherpa-onnx-streaming-paraformer-bilingual-zh-en",
        _PARAFORMER,
        {
            "huggingface": (
                Place("huggingface", "csukuangfj/sherpa-onnx-streaming-paraformer-bilingual-zh-en", _PARAFORMER),
            ),
            "github": (_from_releases("asr-models", "sherpa-onnx-streaming-paraformer-bilingual-zh-en"),),
        },
    ),
    "fun-asr-nano": LaptopModel(
        "sherpa-onnx-funasr-nano-int8-2025-12-30",
        "recogniser Fun-ASR-Nano: Chinese, English, Japanese, with hotwords; slower than SenseVoice",
        "https://huggingface.co/FunAudioLLM/Fun-ASR-Nano-2512",
        _NANO,
        {"github": (_from_releases("asr-models", "sherpa-onnx-funasr-nano-int8-2025-12-30"),)},
    ),
    "kokoro": LaptopModel(
        "kokoro-int8-multi-lang-v1_1",
        "voice Kokoro: a hundred Chinese and some English speakers",
        "https://huggingface.co/hexgrad/Kokoro-82M-v1.1-zh",
        _KOKORO,
        {"github": (_from_releases("tts-models", "kokoro-int8-multi-lang-v1_1"),)},
    ),
}
DEFAULT = ("sense-voice", "matcha")


@dataclass(frozen=True)
class Listed:
    """What a model's places list: `files` to be had one by one, `archives` to be unpacked."""

    files: tuple[RemoteFile, ...]
    archives: tuple[RemoteFile, ...]
    licence: str

    @property
    def size(self) -> int:
        return sum(file.size for file in (*self.files, *self.archives))


def listed(model: LaptopModel, source: str, hubs: Mapping[str, Hub], revision: str | None) -> Listed:
    """Raises HubError where a place cannot be asked or lacks a file."""
    files: list[RemoteFile] = []
    archives: list[RemoteFile] = []
    licence = ""
    for place in model.places[source]:
        hub = hubs[place.source]
        if place.source == "github":
            found = hub.assets(RELEASES, place.repository)
        else:
            repository = Model(model.folder, place.repository)
            found = hub.files(repository, revision)
            licence = licence or hub.licence(repository)
        for file in _wanted(found, place):
            (archives if file.path.endswith(".tar.bz2") else files).append(file)
    return Listed(tuple(files), tuple(archives), licence)


def _wanted(found: Sequence[RemoteFile], place: Place) -> list[RemoteFile]:
    by_name = {file.path: file for file in found}
    missing = [name for name in place.files if name not in by_name]
    if missing:
        raise HubError(f"{place.source} has no {', '.join(missing)} in {place.repository}")
    return [by_name[name] for name in place.files]
