"""A random Fun-ASR-Nano in the on-disk layout of the released one: of its size (2 GB), or small enough for a test (0.8 MB).

    python3 -m scripts.benchmarks.load.random_funasr FOLDER

The weights are random (seeded): what it "recognises" is noise that depends on the sound and on the prompt.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|startofspeech|>", "<|endofspeech|>")
LLM = "Qwen3-0.6B"
CONFIGURATION = {  # what funasr completes with the folder's path
    "framework": "pytorch",
    "task": "auto-speech-recognition",
    "model": {"type": "funasr"},
    "pipeline": {"type": "funasr-pipeline"},
    "file_path_metas": {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"init_param_path": LLM},
        "llm_conf": {"init_param_path": LLM},
    },
}


@dataclass(frozen=True)
class Sizes:
    """The encoder's width, heads, inner width and blocks; the adaptor's; the language model's; `spread` of the weights."""

    width: int
    heads: int
    inner: int
    blocks: tuple[int, int]
    adaptor_layers: int
    hidden: int
    intermediate: int
    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    dtype: str
    spread: float


# Wide enough that the text depends on the sound.
TINY = Sizes(32, 2, 64, (2, 1), 1, 32, 64, 2, 2, 1, 16, 256 + len(SPECIAL), "fp32", 0.6)
RELEASED = Sizes(512, 4, 2048, (50, 20), 2, 1024, 3072, 28, 16, 8, 128, 151_936, "bf16", 0.02)


def write(folder: Path, seed: int = 7, sizes: Sizes = TINY) -> Path:
    """Needs torch, transformers, tokenizers and funasr."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_llm(folder / LLM, sizes)
    ranks = (f"{base64.b64encode(bytes([value])).decode()} {value}" for value in range(256))
    (folder / "multilingual.tiktoken").write_text("\n".join(ranks) + "\n")
    (folder / "config.yaml").write_text(json.dumps(_config(sizes), indent=2))  # JSON is YAML
    (folder / "configuration.json").write_text(json.dumps(CONFIGURATION, indent=2))
    _write_weights(folder, seed, sizes)
    return folder


def _write_llm(folder: Path, sizes: Sizes) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = {"eos_token": SPECIAL[2], "pad_token": SPECIAL[0]}
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)  # type: ignore[no-untyped-call,unused-ignore]
    fast.save_pretrained(folder)
    Qwen3Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.intermediate,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.query_heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        tie_word_embeddings=False,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        architectures=["Qwen3ForCausalLM"],
    ).save_pretrained(folder)


def _config(sizes: Sizes) -> dict[str, Any]:
    return {
        "model": "FunASRNano",
        "audio_encoder": "SenseVoiceEncoderSmall",
        "audio_encoder_conf": {
            "output_size": sizes.width,
            "attention_heads": sizes.heads,
            "linear_units": sizes.inner,
            "num_blocks": sizes.blocks[0],
            "tp_blocks": sizes.blocks[1],
            "dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
            "attention_dropout_rate": 0.0,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
            "freeze": True,
        },
        "llm": LLM,
        "llm_conf": {"hub": "hf", "freeze": True, "llm_dtype": sizes.dtype, "init_param_path": LLM},
        "audio_adaptor": "Transformer",
        "audio_adaptor_conf": {
            "downsample_rate": 1,
            "use_low_frame_rate": True,
            "ffn_dim": sizes.inner,
            "llm_dim": sizes.hidden,
            "encoder_dim": sizes.width,
            "n_layer": sizes.adaptor_layers,
            "attention_heads": sizes.heads,
            "freeze": True,
        },
        "frontend": "WavFrontend",
        "frontend_conf": {
            "fs": 16000,
            "window": "hamming",
            "n_mels": 80,
            "frame_length": 25,
            "frame_shift": 10,
            "lfr_m": 7,
            "lfr_n": 6,
            "cmvn_file": None,
        },
        "tokenizer": "HuggingfaceTokenizer",
        "tokenizer_conf": {"init_param_path": LLM},
        "dataset": "FunASR",
        "dataset_conf": {"use_dynamic_output_ratio": 0.0, "batch_type": "token"},
        "input_size": 560,
    }


def _write_weights(folder: Path, seed: int, sizes: Sizes) -> None:
    import torch
    from funasr import AutoModel

    empty = folder / "model.pt"
    torch.save({"state_dict": {}}, empty)
    model = AutoModel(model=str(folder), device="cpu", disable_update=True, disable_log=True).model
    dtype = torch.bfloat16 if sizes.dtype == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: (torch.randn(value.shape, generator=generator) * sizes.spread).to(dtype)
        if value.is_floating_point()
        else value
        for name, value in model.state_dict().items()
    }
    torch.save({"state_dict": state}, empty)


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), sizes=RELEASED))
