"""The settings of the TTS service and its command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.engines import registry
from web_demo.errors import SetupError
from web_demo.server.common.settings import ServiceSettings, add_common_arguments, common_settings

MODEL_PATH = Path("pretrained_models/Fun-CosyVoice3-0.5B-2512")
REMOTE_KEY_VARIABLE = "TTS_API_KEY"


@dataclass(frozen=True, kw_only=True)
class TtsSettings(ServiceSettings):
    """`prompt_dir` None: no request may name a file. `speakers_dir` None: no voice is kept. `base_url` and the
    `remote_*` belong to the openai engine."""

    port: int = 8004
    model_path: Path | None = MODEL_PATH
    use_vllm: bool = False
    use_trt: bool = False
    fp16: bool = False
    base_url: str = ""
    remote_model: str = ""
    remote_voice: str = ""
    remote_api_key: str = field(default="", repr=False)
    prompt_dir: Path | None = None
    speakers_dir: Path | None = None
    asr_url: str = "http://127.0.0.1:8003"
    max_text_chars: int = 5_000
    max_requests: int = 64
    # How an engine gets a child process of its own; engines import nothing of the server.
    speech_process: Callable[[BackendSpec], Detokenizer] = Detokenizer

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_text_chars < 1:
            raise SetupError(f"--max-text-chars must be at least 1, got {self.max_text_chars}")
        if self.max_requests < 1:
            raise SetupError(f"--max-requests must be at least 1, got {self.max_requests}")
        if self.prompt_dir is not None and not self.prompt_dir.is_dir():
            raise SetupError(f"{self.prompt_dir} (given as --prompt-dir) is not a folder")


def parse_arguments(argv: list[str] | None = None) -> TtsSettings:
    parser = argparse.ArgumentParser(prog="web_demo.server.tts_server", description="Text to speech over HTTP.")
    add_common_arguments(parser, port=8004, engines=registry.names("tts"), model_path=str(MODEL_PATH))
    parser.add_argument("--use-vllm", action="store_true", help="cosyvoice: run its language model on vLLM")
    parser.add_argument("--use-trt", action="store_true", help="cosyvoice: run its flow matching on TensorRT")
    parser.add_argument("--fp16", action="store_true", help="cosyvoice: half precision")
    parser.add_argument("--base-url", default="", help="openai: the server, such as http://127.0.0.1:8091/v1")
    parser.add_argument("--remote-model", default="", help="openai: the model's name there (default: its first)")
    parser.add_argument(
        "--remote-voice", default="", help="openai: the voice there for our built-in names such as 中文女"
    )
    parser.add_argument("--prompt-dir", type=Path, help="folder whose recordings `prompt_wav` may name (default: none)")
    parser.add_argument("--speakers-dir", type=Path, help="folder for the voices that users add (default: none kept)")
    parser.add_argument(
        "--asr-url",
        default=TtsSettings.asr_url,
        help=f"speech recogniser for recordings without a transcript (default {TtsSettings.asr_url})",
    )
    parser.add_argument("--max-text-chars", type=int, default=5_000, help="longest text (default 5000)")
    parser.add_argument("--max-requests", type=int, default=64, help="requests at once, the rest get 429 (default 64)")
    args = parser.parse_args(argv)
    return TtsSettings(
        **common_settings(args),
        use_vllm=args.use_vllm,
        use_trt=args.use_trt,
        fp16=args.fp16,
        base_url=args.base_url,
        remote_model=args.remote_model,
        remote_voice=args.remote_voice,
        remote_api_key=os.environ.get(REMOTE_KEY_VARIABLE, ""),
        prompt_dir=args.prompt_dir,
        speakers_dir=args.speakers_dir,
        asr_url=args.asr_url,
        max_text_chars=args.max_text_chars,
        max_requests=args.max_requests,
    )
