"""What `lm/vllm/engine.py` uses of vLLM, with vLLM's names and habits, over transformers' Qwen2: `write` puts it into a folder
as the package `vllm`. Rows move when others come, a new prompt is read in two parts (so that its first token is chosen twice), stop
ids come out as tokens. A file `fault` in the folder makes the next step end the process ("exit") or wait for ever ("wedge").

`tests/tools/test_vllm.sh` has the real one."""

from __future__ import annotations

from pathlib import Path

PACKAGE = {
    "vllm/__init__.py": '''
import threading, os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, DynamicCache, Qwen2ForCausalLM

from vllm.model_executor.model_loader import LOADERS
from vllm.v1.sample.logits_processor import BatchUpdate

FAULT = Path(__file__).parents[1] / "fault"
LLMS = []


class EngineArgs:
    def __init__(self, **options):
        self.__dict__ |= options


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop_token_ids: list
    detokenize: bool
    output_kind: Any
    extra_args: dict


@dataclass
class Request:
    request_id: str
    embeddings: Any
    params: SamplingParams
    tokens: list = field(default_factory=list)
    cache: Any = field(default_factory=DynamicCache)
    parts: int = 2


@dataclass
class Completion:
    token_ids: list


@dataclass
class Output:
    request_id: str
    outputs: list
    finished: bool


class Model:
    """Loads weights by name, as vLLM's Qwen2ForCausalLM does, and complains of what is missing."""

    def __init__(self, path, overrides):
        config = AutoConfig.from_pretrained(path)
        for name, value in overrides.items():
            setattr(config, name, value)
        self.qwen2 = Qwen2ForCausalLM(config).eval()

    def load_weights(self, weights):
        self.qwen2.load_state_dict(dict(weights), strict=True)


class LLMEngine:
    @classmethod
    def from_engine_args(cls, args):
        assert args.enable_prompt_embeds and args.skip_tokenizer_init and not args.async_scheduling
        self = cls()
        self.args, self.model_config = args, args
        model = Model(args.model, args.hf_overrides)
        LOADERS[args.load_format](None).load_weights(model, None)
        self.qwen2 = model.qwen2.to(getattr(torch, args.dtype))
        (processor,) = args.logits_processors
        self.processor = processor(None, torch.device("cpu"), False)
        assert not self.processor.is_argmax_invariant()
        self.waiting, self.batch = [], []
        LLMS.append(self)
        return self

    def has_unfinished_requests(self):
        return bool(self.waiting or self.batch)

    def add_request(self, request_id, prompt, params):
        assert params.temperature == 0.0 and len(self.waiting) + len(self.batch) < self.args.max_num_seqs
        self.waiting.append(Request(request_id, prompt["prompt_embeds"], params))

    def abort_request(self, ids):
        for request in [request for request in self.waiting + self.batch if request.request_id in ids]:
            (self.waiting if request in self.waiting else self.batch).remove(request)

    @torch.inference_mode()
    def step(self):
        if FAULT.exists():
            fault = FAULT.read_text()
            FAULT.unlink()
            os._exit(7) if fault == "exit" else threading.Event().wait()
        self.batch = self.waiting + self.batch  # everybody moves
        self.waiting = []
        added = [(index, request.params, None, request.tokens) for index, request in enumerate(self.batch)]
        self.processor.update_state(BatchUpdate(len(self.batch), (), added, ()))
        logits = torch.cat([self.last_logits(request) for request in self.batch])
        chosen = self.processor.apply(logits).argmax(-1).tolist()
        outputs = []
        for request, token in zip(list(self.batch), chosen):
            if request.parts:
                request.parts -= 1
                if request.parts:
                    continue
            request.tokens.append(token)
            ended = token in request.params.stop_token_ids or len(request.tokens) == request.params.max_tokens
            outputs.append(Output(request.request_id, [Completion([token])], ended))
            if ended:
                self.batch.remove(request)
            request.embeddings = self.qwen2.get_input_embeddings().weight[token][None]
        return outputs

    def last_logits(self, request):
        given = request.embeddings
        if request.parts:  # 2: the first half, 1: the rest
            half = len(given) // 2
            given = given[:half] if request.parts == 2 else given[half:]
        return self.qwen2(inputs_embeds=given[None], past_key_values=request.cache, use_cache=True).logits[:, -1]
''',
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/model_loader/__init__.py": """
LOADERS = {}


def register_model_loader(name):
    return lambda loader: LOADERS.setdefault(name, loader)
""",
    "vllm/model_executor/model_loader/base_loader.py": """
class BaseModelLoader:
    def __init__(self, load_config):
        pass
""",
    "vllm/platforms.py": """
class current_platform:
    is_cpu = staticmethod(lambda: True)
""",
    "vllm/sampling_params.py": """
class RequestOutputKind:
    DELTA = 1
""",
    "vllm/v1/__init__.py": "",
    "vllm/v1/sample/__init__.py": "",
    "vllm/v1/sample/logits_processor.py": """
from dataclasses import dataclass
from typing import Any


@dataclass
class BatchUpdate:
    batch_size: int
    removed: Any
    added: Any
    moved: Any


class LogitsProcessor:
    pass


def process_dict_updates(rows, update, new):
    known = {id(row.tokens): row for row in rows.values()}
    rows.clear()
    for index, params, prompt, tokens in update.added:
        rows[index] = known.get(id(tokens)) or new(params, prompt, tokens)
    return True
""",
}


def write(folder: Path) -> Path:
    for name, content in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder
