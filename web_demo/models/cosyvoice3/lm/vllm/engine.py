"""CosyVoice3's speech LM in vLLM: its Qwen2 over speech tokens, which begins with embeddings instead of ids.

All of it is in this process (`VLLM_ENABLE_V1_MULTIPROCESSING=0`): its end is the end of everything on the GPU. vLLM makes the
model from the Qwen2 configuration in the model's directory with the sizes of speech tokens put in, and its weights are those of
llm.pt, given to it by name: nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # the newer one takes no logits processors of others
os.environ["VLLM_NO_USAGE_STATS"] = "1"

import torch
from torch import nn
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, process_dict_updates

from ...config import QWEN_DIR, LmConfig, load_config
from ...weights import Weights, read_weights, take
from ..lm import EXTRA_IDS, embedded_prompt
from .messages import Begin, Load, Spoken
from .rows import Row, choose

FORMAT = "cosyvoice3"
BLOCK = 128  # positions; a multiple of every backend's block


class SpeechEngine:
    """Raises what vLLM raises."""

    def __init__(self, asked: Load) -> None:
        directory = Path(asked.directory)
        self._config = load_config(directory).lm
        raw = read_weights(directory / "llm.pt")
        dtype = getattr(torch, asked.dtype)
        self._words = raw["llm.model.model.embed_tokens.weight"].to(dtype)
        self._table = raw["speech_embedding.weight"].to(dtype)
        ids = self._config.speech_token_size + EXTRA_IDS
        on_cpu = current_platform.is_cpu()
        cache = cache_bytes(self._config, asked, dtype.itemsize)
        self._llm = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(directory / QWEN_DIR),
                hf_overrides={"vocab_size": ids, "tie_word_embeddings": False},
                generation_config="vllm",  # the directory's own is that of a text model
                skip_tokenizer_init=True,
                enable_prompt_embeds=True,
                load_format=_loader(qwen2_weights(raw)),
                dtype=asked.dtype,
                max_model_len=asked.capacity,
                max_num_seqs=asked.utterances,
                max_num_batched_tokens=max(asked.capacity, 2048),
                kv_cache_memory_bytes=cache,
                gpu_memory_utilization=0.5 if on_cpu else _share(cache, raw),
                enable_prefix_caching=False,
                async_scheduling=False,  # a row must know its last token
                logits_processors=[_processor(self._config)],
                enforce_eager=on_cpu,
                disable_log_stats=True,
            )
        )

    @property
    def busy(self) -> bool:
        return bool(self._llm.has_unfinished_requests())

    def begin(self, asked: Begin) -> None:
        """Raises ValueError when the input leaves no room."""
        given, capacity = asked.given, self._llm.model_config.max_model_len
        text = (*given.prompt_text, *given.text)
        prompt = embedded_prompt(self._words, self._table, self._config.speech_token_size, text, given.prompt_speech)[0]
        check_room(len(prompt), given.min_tokens, capacity)
        most = min(given.max_tokens, capacity - len(prompt))
        ids = self._config.speech_token_size + EXTRA_IDS
        how = SamplingParams(
            temperature=0.0,  # the most likely, which the processor has chosen
            max_tokens=most,
            stop_token_ids=list(range(self._config.speech_token_size, ids)),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            extra_args={"min_tokens": min(given.min_tokens, most), "seed": asked.seed},
        )
        self._llm.add_request(str(asked.number), {"prompt_embeds": prompt}, how)

    def drop(self, number: int) -> None:
        self._llm.abort_request([str(number)])

    def step(self) -> Iterator[Spoken]:
        """One token more for everybody."""
        for output in self._llm.step():
            (made,) = output.outputs
            tokens = tuple(token for token in made.token_ids if token < self._config.speech_token_size)
            yield Spoken(int(output.request_id), tokens, output.finished)


def check_room(length: int, min_tokens: int, capacity: int) -> None:
    if length + min_tokens > capacity:
        raise ValueError(
            f"text and prompt are {length} positions long and need {min_tokens} more to be spoken; there is room for "
            f"{capacity}: shorten the text or the reference recording"
        )


def qwen2_weights(raw: Weights) -> Weights:
    """Names of llm.pt to those of vLLM's Qwen2ForCausalLM. The text head is not used for speech."""
    body = take(raw, "llm.model.model.")
    return {
        **{f"model.{name}": weight for name, weight in body.items()},
        "model.embed_tokens.weight": raw["speech_embedding.weight"],
        "lm_head.weight": raw["llm_decoder.weight"],
    }


def cache_bytes(config: LmConfig, asked: Load, element: int) -> int:
    """Keys and values of all utterances at their longest, in whole blocks, and one block more, which vLLM keeps for itself."""
    blocks = asked.utterances * -(-asked.capacity // BLOCK) + 1
    position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * element
    return blocks * BLOCK * position


def _share(cache: int, raw: Weights) -> float:
    """Of the GPU's memory, which vLLM wants to see free: the cache, the weights, and 2 GiB to work with."""
    total = torch.cuda.mem_get_info()[1]
    weights = sum(weight.numel() * 2 for weight in qwen2_weights(raw).values())
    return min(0.95, (cache + weights + (2 << 30)) / total)


def _loader(weights: Weights) -> str:
    """The name of a load format that gives these weights to the model."""

    class Loader(BaseModelLoader):  # type: ignore[misc, unused-ignore]
        def download_model(self, model_config: Any) -> None:
            return

        def load_weights(self, model: nn.Module, model_config: Any) -> None:
            model.load_weights(iter(weights.items()))  # type: ignore[operator, unused-ignore]

    register_model_loader(FORMAT)(Loader)
    return FORMAT


def _processor(config: LmConfig) -> type[Any]:
    """vLLM's face of `rows`."""

    class RepetitionAware(LogitsProcessor):  # type: ignore[misc, unused-ignore]
        def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
            self._rows: dict[int, Row] = {}

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, batch_update: BatchUpdate | None) -> None:
            process_dict_updates(self._rows, batch_update, _row)

        def apply(self, logits: torch.Tensor) -> torch.Tensor:
            return choose(logits, [self._rows[index] for index in range(logits.shape[0])], config)

    return RepetitionAware


def _row(how: SamplingParams, _prompt: list[int] | None, tokens: list[int]) -> Row:
    extra = how.extra_args
    return Row(tokens, extra["min_tokens"], extra["seed"])
