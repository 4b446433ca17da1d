"""A random Fun-ASR-Nano in the on-disk layout of the released one, small enough for a test: 0.8 MB, loads in a second.

The weights are random (seeded): what it "recognises" is noise that depends on the sound and on the prompt.
python3 -m tests.tiny_funasr FOLDER
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|startofspeech|>", "<|endofspeech|>")
CONFIGURATION = {  # what funasr completes with the folder's path
    "framework": "pytorch",
    "task": "auto-speech-recognition",
    "model": {"type": "funasr"},
    "pipeline": {"type": "funasr-pipeline"},
    "file_path_metas": {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"init_param_path": "Qwen3-tiny"},
        "llm_conf": {"init_param_path": "Qwen3-tiny"},
    },
}
SPREAD = 0.6  # of the weights: wide enough that the text depends on the sound


def write(folder: Path, seed: int = 7) -> Path:
    """Needs torch, transformers, tokenizers and funasr."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_llm(folder / "Qwen3-tiny")
    ranks = (f"{base64.b64encode(bytes([value])).decode()} {value}" for value in range(256))
    (folder / "multilingual.tiktoken").write_text("\n".join(ranks) + "\n")
    (folder / "config.yaml").write_text(json.dumps(_config(), indent=2))  # JSON is YAML
    (folder / "configuration.json").write_text(json.dumps(CONFIGURATION, indent=2))
    _write_weights(folder, seed)
    return folder


def _write_llm(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    fast.save_pretrained(folder)
    Qwen3Config(
        vocab_size=len(alphabet) + len(SPECIAL),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=False,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        architectures=["Qwen3ForCausalLM"],
    ).save_pretrained(folder)


def _config() -> dict:
    return {
        "model": "FunASRNano",
        "audio_encoder": "SenseVoiceEncoderSmall",
        "audio_encoder_conf": {
            "output_size": 32,
            "attention_heads": 2,
            "linear_units": 64,
            "num_blocks": 2,
            "tp_blocks": 1,
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
        "llm": "Qwen3-tiny",
        "llm_conf": {"hub": "hf", "freeze": True, "llm_dtype": "fp32", "init_param_path": "Qwen3-tiny"},
        "audio_adaptor": "Transformer",
        "audio_adaptor_conf": {
            "downsample_rate": 1,
            "use_low_frame_rate": True,
            "ffn_dim": 64,
            "llm_dim": 32,
            "encoder_dim": 32,
            "n_layer": 1,
            "attention_heads": 2,
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
        "tokenizer_conf": {"init_param_path": "Qwen3-tiny"},
        "dataset": "FunASR",
        "dataset_conf": {"use_dynamic_output_ratio": 0.0, "batch_type": "token"},
        "input_size": 560,
    }


def _write_weights(folder: Path, seed: int) -> None:
    import torch
    from funasr import AutoModel

    empty = folder / "model.pt"
    torch.save({"state_dict": {}}, empty)
    model = AutoModel(model=str(folder), device="cpu", disable_update=True, disable_log=True).model
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.randn(value.shape, generator=generator) * SPREAD if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    torch.save({"state_dict": state}, empty)


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
