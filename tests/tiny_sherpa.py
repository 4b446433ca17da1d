"""Small ONNX models in the on-disk layouts of those that sherpa-onnx runs, made here: each a few hundred kB, loads at once.

The recognisers say SAID whatever they hear (which language and whether numbers were to be written they hear of, and say so in
their first tokens), the streaming one a character of STREAMED for each chunk of 0.6 s; the voices hum with seeded random weights,
longer for more tokens. What metadata, inputs and outputs a model must have are facts of sherpa-onnx 2.0.1.
python3 -m tests.tiny_sherpa FOLDER
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES = 560  # seven frames of 80 mel bands
SAID = "现在几点了"
STREAMED = "今日天气很好明早也一样"
NANO_SAID = "clubs"
CHINESE = (
    "你好我是语音助手现在点分秒钟年月日星期今天明昨听到说的内置替身很高兴认识没有模型可以了不客气再见和聊天开心会重复也能打招呼谁"
    "报时间期想要真正回答请给接一个言或者安装二三四五六七八九十零两半上下午晚早凌晨中文字"
)
ENGLISH = ("hello", "there", "word", "a")
PUNCTUATION = ',.!?;:—…"()“”'
PHONES = "abdefhijklmnopstuvwz123" + "ɛɜɪəʊæɹʃʒθðŋɡAIOWYʧʤˈˌɑɔʌ"
LANGUAGES = ("auto", "zh", "en", "ja", "ko", "yue")
SPEAKERS = ("af_maple", "bf_vale", "zf_001", "zm_010")  # as Kokoro v1.1-zh names them
_MAX_FRAMES = 3000  # of 60 ms
_FIRST, _EVERY = 4, 3  # frame of the first character of SAID, and from one to the next
_OPSET = 17


def write_all(folder: Path) -> None:
    sense_voice(folder / "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-int8-2024-07-17")
    funasr_nano(folder / "sherpa-onnx-funasr-nano-int8-2025-12-30")
    streaming_paraformer(folder / "sherpa-onnx-streaming-paraformer-bilingual-zh-en")
    matcha(folder / "matcha-icefall-zh-en")
    kokoro(folder / "kokoro-int8-multi-lang-v1_1")


def sense_voice(folder: Path, said: Sequence[str] = tuple(SAID)) -> Path:
    """`said`: the tokens that it hears, a new word where one begins with "▁"."""
    tags = [f"<|{language}|>" for language in LANGUAGES]
    tokens = ["<unk>", *dict.fromkeys(said), *tags, "<|NEUTRAL|>", "<|Speech|>", "<|withitn|>", "<|woitn|>"]
    number = {token: index for index, token in enumerate(tokens)}
    size = len(tokens)
    frames = np.zeros(_MAX_FRAMES, np.int64)  # the blank
    for index, token in enumerate(said):
        frames[_FIRST + index * _EVERY] = number[token]
    one_hot = np.eye(size, dtype=np.float32)
    heard = ["<|zh|>", *tags[1:]]  # "auto" hears Chinese
    constants = {
        "frames": one_hot[frames],
        "of_language": one_hot[[number[tag] for tag in heard]],
        "of_itn": one_hot[[number["<|withitn|>"], number["<|woitn|>"]]],
        "event": one_hot[[number["<|NEUTRAL|>"], number["<|Speech|>"]]],
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "nothing": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["length"]),
        helper.make_node("Slice", ["frames", "zero", "length", "zero"], ["body"]),
        helper.make_node("Gather", ["of_language", "language"], ["first"]),
        helper.make_node("Gather", ["of_itn", "text_norm"], ["fourth"]),
        helper.make_node("Concat", ["first", "event", "fourth", "body"], ["all"], axis=0),
        *_used("x", "x_length", "all", "row"),
        helper.make_node("Unsqueeze", ["row", "zero"], ["logits"]),
    ]
    inputs = {
        "x": (TensorProto.FLOAT, ["N", "T", FEATURES]),
        "x_length": (TensorProto.INT32, ["N"]),
        "language": (TensorProto.INT32, ["N"]),
        "text_norm": (TensorProto.INT32, ["N"]),
    }
    metadata = {
        "model_type": "sense_voice_ctc",
        "comment": "tiny",
        "vocab_size": size,
        "blank_id": 0,
        "lfr_window_size": 7,
        "lfr_window_shift": 6,
        "normalize_samples": 0,
        "with_itn": 0,
        "without_itn": 1,
        **{f"lang_{language}": index for index, language in enumerate(LANGUAGES)},
        **_normalising(),
    }
    _save(folder / "model.int8.onnx", nodes, inputs, {"logits": ["N", "U", size]}, constants, metadata)
    _write_tokens(folder, tokens)
    return folder


def streaming_paraformer(folder: Path) -> Path:
    """Says the next character of STREAMED about once a chunk: how many it has said is in the cache of its decoder."""
    width, kernel = 16, 11
    tokens = ["<blank>", "<s>", "</s>", *STREAMED, "<unk>"]
    encoder = {
        "to_width": np.zeros((FEATURES, width), np.float32),
        "to_alpha": np.zeros((width,), np.float32),
        "alpha": np.array(0.11, np.float32),
    }
    _save(
        folder / "encoder.int8.onnx",
        [
            helper.make_node("MatMul", ["speech", "to_width"], ["enc"]),
            helper.make_node("Identity", ["speech_lengths"], ["enc_len"]),
            helper.make_node("MatMul", ["enc", "to_alpha"], ["no_alpha"]),
            helper.make_node("Add", ["no_alpha", "alpha"], ["alphas"]),
        ],
        {"speech": (TensorProto.FLOAT, [1, "T", FEATURES]), "speech_lengths": (TensorProto.INT32, [1])},
        {"enc": [1, "T", width], "enc_len": (TensorProto.INT32, [1]), "alphas": [1, "T"]},
        encoder,
        {
            "vocab_size": len(tokens),
            "lfr_window_size": 7,
            "lfr_window_shift": 6,
            "encoder_output_size": width,
            "decoder_num_blocks": 1,
            "decoder_kernel_size": kernel,
            **_normalising(),
        },
    )
    decoder = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "first": np.array(3, np.int64),
        "characters": np.array(len(STREAMED), np.int64),
        "size": np.array(len(tokens), np.int64),
        "off_on": np.array([0, 1], np.float32),
        "axis": np.array([0], np.int64),
        "all": np.array([-1], np.int64),
        "nothing": np.array(0, np.float32),
    }
    _save(
        folder / "decoder.int8.onnx",
        [
            helper.make_node("Shape", ["acoustic_embeds"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["count"]),
            helper.make_node("Range", ["zero", "count", "one"], ["indices"]),
            helper.make_node("Reshape", ["in_cache_0", "all"], ["flat"]),
            helper.make_node("Gather", ["flat", "zero"], ["said_float"]),
            helper.make_node("Cast", ["said_float"], ["said"], to=TensorProto.INT64),
            helper.make_node("Add", ["indices", "said"], ["places"]),
            helper.make_node("Mod", ["places", "characters"], ["wrapped"]),
            helper.make_node("Add", ["wrapped", "first"], ["ids"]),
            helper.make_node("Unsqueeze", ["ids", "axis"], ["sample_ids"]),
            helper.make_node("OneHot", ["sample_ids", "size", "off_on"], ["certain"]),
            helper.make_node("ReduceMean", ["enc"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["nothing_of_it"]),
            helper.make_node("Add", ["certain", "nothing_of_it"], ["logits"]),
            helper.make_node("Cast", ["count"], ["count_float"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["in_cache_0", "count_float"], ["out_cache_0"]),
        ],
        {
            "enc": (TensorProto.FLOAT, [1, "T", width]),
            "enc_len": (TensorProto.INT32, [1]),
            "acoustic_embeds": (TensorProto.FLOAT, [1, "U", width]),
            "acoustic_embeds_len": (TensorProto.INT32, [1]),
            "in_cache_0": (TensorProto.FLOAT, [1, width, kernel - 1]),
        },
        {
            "logits": [1, "U", len(tokens)],
            "sample_ids": (TensorProto.INT64, [1, "U"]),
            "out_cache_0": [1, width, kernel - 1],
        },
        decoder,
        {},
    )
    _write_tokens(folder, tokens)
    return folder


def funasr_nano(folder: Path, context: int = 1024) -> Path:
    """A language model in which each byte has one that follows: it says NANO_SAID, and "q" alone where a q is in its prompt, as
    in a hotword. It has tokens for ASCII alone; others are left out. `context`: positions that it has."""
    alphabet = list(_byte_symbols()[:128])
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    number = {token: index for index, token in enumerate([*alphabet, *special])}
    size = len(number)
    follows = np.zeros((size, size), np.float32)
    chain = [_byte_symbols()[ord("\n")], *NANO_SAID, "<|im_end|>"]
    for before, after in [*itertools.pairwise(chain), ("q", "<|im_end|>")]:
        follows[number[before], number[after]] = 1
    wish = np.zeros((size, size), np.float32)
    wish[number["q"], number["q"]] = 100
    wish[number["q"], number["<|im_end|>"]] = -100
    heads, width = 1, 4
    _save(
        folder / "encoder_adaptor.int8.onnx",
        [helper.make_node("MatMul", ["speech", "silent"], ["encoder_out"])],
        {"speech": (TensorProto.FLOAT, [1, "T", FEATURES])},
        {"encoder_out": [1, "T", size]},
        {"silent": np.zeros((FEATURES, size), np.float32)},
        {"lfr_window_size": 7, "lfr_window_shift": 6, "llm_dim": size},
    )
    _save(
        folder / "llm.int8.onnx",
        [
            helper.make_node("MatMul", ["inputs_embeds", "follows"], ["next"]),
            helper.make_node("ReduceSum", ["inputs_embeds", "axis"], ["prompt"], keepdims=1),
            helper.make_node("Sub", ["prompt", "inputs_embeds"], ["before"]),  # of a single token: nothing
            helper.make_node("MatMul", ["before", "wish"], ["wished"]),
            helper.make_node("Add", ["next", "wished"], ["most"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["mask"], ["mask_mean"], keepdims=0),
            helper.make_node("Cast", ["cache_position"], ["position"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["position"], ["position_mean"], keepdims=0),
            helper.make_node("ReduceMean", ["past_key_0"], ["key_mean"], keepdims=0),
            helper.make_node("ReduceMean", ["past_value_0"], ["value_mean"], keepdims=0),
            helper.make_node("Sum", ["mask_mean", "position_mean", "key_mean", "value_mean"], ["something"]),
            helper.make_node("Mul", ["something", "nothing"], ["nothing_of_it"]),
            helper.make_node("Add", ["most", "nothing_of_it"], ["logits"]),
            helper.make_node("MatMul", ["inputs_embeds", "to_cache"], ["flat"]),
            helper.make_node("Reshape", ["flat", "cache_shape"], ["key_delta_0"]),
            helper.make_node("Identity", ["key_delta_0"], ["value_delta_0"]),
        ],
        {
            "inputs_embeds": (TensorProto.FLOAT, [1, "S", size]),
            "attention_mask": (TensorProto.INT64, [1, "M"]),
            "cache_position": (TensorProto.INT64, ["S"]),
            "past_key_0": (TensorProto.FLOAT, [1, context, heads, width]),
            "past_value_0": (TensorProto.FLOAT, [1, context, heads, width]),
        },
        {
            "logits": [1, "S", size],
            "key_delta_0": [1, "S", heads, width],
            "value_delta_0": [1, "S", heads, width],
        },
        {
            "follows": follows,
            "wish": wish,
            "axis": np.array([1], np.int64),
            "nothing": np.array(0, np.float32),
            "to_cache": np.zeros((size, heads * width), np.float32),
            "cache_shape": np.array([1, -1, heads, width], np.int64),
        },
        {
            "model_type": "qwen3_kv_delta",
            "vocab_size": size,
            "hidden_size": size,
            "num_layers": 1,
            "max_total_len": context,
        },
    )
    _save(
        folder / "embedding.int8.onnx",
        [helper.make_node("Gather", ["table", "input_ids"], ["embeds"])],
        {"input_ids": (TensorProto.INT64, [1, "S"])},
        {"embeds": [1, "S", size]},
        {"table": np.eye(size, dtype=np.float32)},
        {"hidden_size": size},
    )
    tokenizer = folder / "Qwen3-0.6B"
    tokenizer.mkdir(exist_ok=True)
    added = [{"id": number[token], "content": token, "special": True} for token in special]
    (tokenizer / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": added}), "utf-8")
    (tokenizer / "vocab.json").write_text(json.dumps({token: number[token] for token in alphabet}), "utf-8")
    (tokenizer / "merges.txt").write_text("#version: 0.2\nĠ a\n", "utf-8")
    return folder


def _byte_symbols() -> str:
    """The printable character by which byte-level BPE writes each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return "".join(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


def matcha(folder: Path, *, english: bool = True) -> Path:
    """A hum of 0.15 s a token at speed 1, its spectrum from seeded random numbers. `english`: with a small English lexicon,
    which the released folder has none of."""
    random = np.random.default_rng(7)
    pinyin = _pinyin(CHINESE)
    phones = ["_", " ", *PUNCTUATION, *PHONES, *dict.fromkeys(pinyin.values())]
    size, mels, bins = len(phones), 80, 129
    frames_per_token = 0.15 * 16_000 / 64
    _save(
        folder / "model-steps-3.onnx",
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["tokens"]),
            helper.make_node("Cast", ["tokens"], ["tokens_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["tokens_float", "per_token"], ["usual"]),
            helper.make_node("Squeeze", ["length_scale"], ["scale"]),
            helper.make_node("Mul", ["usual", "scale"], ["frames_float"]),
            helper.make_node("Cast", ["frames_float"], ["frames"], to=TensorProto.INT64),
            helper.make_node("Range", ["zero", "frames", "one"], ["indices"]),
            helper.make_node("Mul", ["indices", "tokens"], ["scaled"]),
            helper.make_node("Div", ["scaled", "frames"], ["of_token"]),
            helper.make_node("Gather", ["table", "x"], ["embedded"]),
            helper.make_node("Gather", ["embedded", "of_token"], ["stretched"], axis=1),
            helper.make_node("Transpose", ["stretched"], ["spectrum"], perm=[0, 2, 1]),
            helper.make_node("Cast", ["x_length"], ["length_float"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["noise_scale", "length_float"], ["something"]),
            helper.make_node("Mul", ["something", "nothing"], ["nothing_of_it"]),
            helper.make_node("Add", ["spectrum", "nothing_of_it"], ["mel"]),
        ],
        {
            "x": (TensorProto.INT64, [1, "L"]),
            "x_length": (TensorProto.INT64, [1]),
            "noise_scale": (TensorProto.FLOAT, [1]),
            "length_scale": (TensorProto.FLOAT, [1]),
        },
        {"mel": [1, mels, "T"]},
        {
            "table": random.standard_normal((size, mels)).astype(np.float32),
            "zero": np.array(0, np.int64),
            "one": np.array(1, np.int64),
            "per_token": np.array(frames_per_token, np.float32),
            "nothing": np.zeros(1, np.float32),
        },
        {
            "model_type": "matcha-tts",
            "sample_rate": 16_000,
            "version": 1,
            "n_speakers": 1,
            "jieba": 1,
            "has_espeak": 1,
            "use_eos_bos": 0,
            "pad_id": 0,
            "voice": "zh en-us",
        },
    )
    _save(
        folder / "vocos-16khz-univ.onnx",
        [
            helper.make_node("MatMul", ["to_bins", "mels"], ["bins"]),
            helper.make_node("Sigmoid", ["bins"], ["mag"]),
            helper.make_node("Cos", ["bins"], ["x"]),
            helper.make_node("Sin", ["bins"], ["y"]),
        ],
        {"mels": (TensorProto.FLOAT, [1, mels, "T"])},
        {name: [1, bins, "T"] for name in ("mag", "x", "y")},
        {"to_bins": random.standard_normal((bins, mels)).astype(np.float32)},
        {"model_type": "vocos", "sample_rate": 16_000, "n_fft": 256, "hop_length": 64, "win_length": 256},
    )
    _write_tokens(folder, phones)
    _write_lexicon(folder / "lexicon.txt", {character: [syllable] for character, syllable in pinyin.items()})
    if english:
        _write_lexicon(folder / "lexicon-us-en.txt", _english())
    return folder


def kokoro(folder: Path, speakers: Sequence[str] = SPEAKERS) -> Path:
    """A tone of 0.1 s a token at speed 1, as high as the speaker's style says."""
    phones = ["$", " ", *PUNCTUATION, *PHONES]
    tokens, width = 128, 4
    _save(
        folder / "model.int8.onnx",
        [
            helper.make_node("Shape", ["tokens"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["count"]),
            helper.make_node("Cast", ["count"], ["count_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["count_float", "per_token"], ["usual"]),
            helper.make_node("Squeeze", ["speed"], ["rate"]),
            helper.make_node("Div", ["usual", "rate"], ["samples_float"]),
            helper.make_node("Floor", ["samples_float"], ["samples"]),
            helper.make_node("Range", ["zero", "samples", "step"], ["times"]),
            helper.make_node("ReduceMean", ["style"], ["pitch"], keepdims=0),
            helper.make_node("Mul", ["times", "pitch"], ["phase"]),
            helper.make_node("Sin", ["phase"], ["wave"]),
            helper.make_node("Mul", ["wave", "loudness"], ["audio"]),
        ],
        {
            "tokens": (TensorProto.INT64, [1, "L"]),
            "style": (TensorProto.FLOAT, [1, width]),
            "speed": (TensorProto.FLOAT, [1]),
        },
        {"audio": ["S"]},
        {
            "one": np.array(1, np.int64),
            "zero": np.array(0, np.float32),
            "step": np.array(1, np.float32),
            "per_token": np.array(2400, np.float32),
            "loudness": np.array(0.2, np.float32),
        },
        {
            "model_type": "kokoro",
            "sample_rate": 24_000,
            "version": 2,
            "n_speakers": len(speakers),
            "has_espeak": 1,
            "voice": "en-us",
            "style_dim": f"{tokens},1,{width}",
            "speaker_names": ",".join(speakers),
        },
    )
    styles = np.stack([np.full((tokens, width), 0.05 + 0.02 * n, np.float32) for n in range(len(speakers))])
    (folder / "voices.bin").write_bytes(styles.tobytes())
    _write_tokens(folder, phones)
    _write_lexicon(folder / "lexicon-us-en.txt", _english())
    _write_lexicon(folder / "lexicon-zh.txt", _pronounced(CHINESE))
    return folder


def _english() -> dict[str, list[str]]:
    """Some words, and the letters by which others are spelled."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        **{letter: ["b", "i"] for letter in letters},
        **{word: [letter for letter in word if letter in PHONES] for word in ENGLISH},
    }


def _pinyin(characters: str) -> dict[str, str]:
    """One of a hundred syllables for each; which one does not matter here."""
    syllables = [
        f"{initial}{final}{tone}" for initial in "bdglz" for final in ("a", "i", "ang", "ou", "en") for tone in "1234"
    ]
    return {character: syllables[index % len(syllables)] for index, character in enumerate(dict.fromkeys(characters))}


def _pronounced(characters: str) -> dict[str, list[str]]:
    """Two phones for each."""
    return {
        character: [PHONES[index % len(PHONES)], PHONES[index * 7 % len(PHONES)]]
        for index, character in enumerate(dict.fromkeys(characters))
    }


def _write_lexicon(path: Path, lexicon: Mapping[str, Sequence[str]]) -> None:
    path.write_text("".join(f"{word} {' '.join(phones)}\n" for word, phones in lexicon.items()), "utf-8")


def _used(*names: str) -> list[Any]:
    """Adds nothing of `x` and `x_length` to a tensor, so that no input is left out: (x, x_length, tensor, result)."""
    x, length, tensor, result = names
    return [
        helper.make_node("ReduceMean", [x], ["mean"], keepdims=0),
        helper.make_node("Cast", [length], ["length_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["length_float"], ["total"], keepdims=0),
        helper.make_node("Add", ["mean", "total"], ["something"]),
        helper.make_node("Mul", ["something", "nothing"], ["nothing_of_it"]),
        helper.make_node("Add", [tensor, "nothing_of_it"], [result]),
    ]


def _normalising() -> dict[str, str]:
    return {"neg_mean": ",".join(["0"] * FEATURES), "inv_stddev": ",".join(["1"] * FEATURES)}


def _write_tokens(folder: Path, tokens: Sequence[str]) -> None:
    lines = (f"{token} {index}\n" for index, token in enumerate(tokens))
    (folder / "tokens.txt").write_text("".join(lines), "utf-8")


def _save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[Any]]],
    outputs: Mapping[str, Sequence[Any] | tuple[int, Sequence[Any]]],
    constants: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        list(nodes),
        path.stem,
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [
            helper.make_tensor_value_info(name, *(what if isinstance(what, tuple) else (TensorProto.FLOAT, what)))
            for name, what in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.checker.check_model(model)
    onnx.save(model, path)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
