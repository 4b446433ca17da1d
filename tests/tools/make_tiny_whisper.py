#!/usr/bin/env python3
"""Write a tiny Whisper checkpoint with random weights, in the layout of the released ones, to test a server with.

    python3 tests/tools/make_tiny_whisper.py FOLDER

Its transcripts are noise. Needs torch and transformers, as vLLM's environment has them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

SPECIAL = (
    *("<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    *(f"<|{index * 0.02:.2f}|>" for index in range(1501)),
)
END = "<|endoftext|>"
WIDTH, HEADS = 128, 2  # 64 to a head: vLLM's attention on the CPU knows no smaller one


def write(folder: Path) -> None:
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    vocabulary = {letter: index for index, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab={**vocabulary, END: len(vocabulary)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    end = tokenizer.convert_tokens_to_ids(END)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=WIDTH,
        decoder_ffn_dim=WIDTH,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids(SPECIAL[0]),
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    write(args.folder)
    print(f"wrote {args.folder}: a tiny Whisper with random weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
