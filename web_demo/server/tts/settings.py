"""The settings of the TTS service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from web_demo.detokenizer.backend import BackendSpec
from web_demo.detokenizer.supervisor import Detokenizer
from web_demo.errors import SetupError
from web_demo.server.common.settings import ServiceSettings, option

REMOTE_KEY_VARIABLE = "TTS_API_KEY"


@dataclass(frozen=True, kw_only=True)
class TtsSettings(ServiceSettings):
    """`prompt_dir` None: no request may name a file. `speakers_dir` None: no voice is kept. `base_url` and the
    `remote_*` belong to the openai engine."""

    kind: ClassVar[str] = "tts"

    port: int = 8004
    model_path: Path | None = Path("pretrained_models/Fun-CosyVoice3-0.5B-2512")
    use_vllm: bool = field(default=False, metadata=option("cosyvoice3: its language model in vLLM"))
    vllm_python: Path | None = field(
        default=None, metadata=option("cosyvoice3: the Python that has vLLM (default: that of .venv-vllm)")
    )
    cosyvoice_python: Path | None = field(
        default=None,
        metadata=option("cosyvoice: the Python that has upstream's packages (default: that of .venv-cosyvoice)"),
    )
    use_trt: bool = field(default=False, metadata=option("cosyvoice: run its flow matching on TensorRT"))
    fp16: bool = field(default=False, metadata=option("cosyvoice: half precision"))
    base_url: str = field(default="", metadata=option("openai: the server, such as http://127.0.0.1:8091/v1"))
    remote_model: str = field(default="", metadata=option("openai: the model's name there (default: its first)"))
    remote_voice: str = field(
        default="", metadata=option("openai: the voice there for our built-in names such as 中文女")
    )
    remote_api_key: str = field(
        default="", repr=False, metadata=option("of --base-url", flag="", variable=REMOTE_KEY_VARIABLE)
    )
    prompt_dir: Path | None = field(
        default=None, metadata=option("folder whose recordings `prompt_wav` may name (default: none)")
    )
    speakers_dir: Path | None = field(
        default=None, metadata=option("folder for the voices that users add (default: none kept)")
    )
    asr_url: str = field(
        default="http://127.0.0.1:8003", metadata=option("speech recogniser for recordings without a transcript")
    )
    max_text_chars: int = field(default=5_000, metadata=option("longest text", least=1))
    max_requests: int = field(default=64, metadata=option("requests at once, the rest get 429", least=1))
    max_streams: int = field(default=32, metadata=option("streams of text at once, the rest get 429", least=1))
    # How an engine gets a child process of its own; engines import nothing of the server.
    speech_process: Callable[[BackendSpec], Detokenizer] = Detokenizer

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt_dir is not None and not self.prompt_dir.is_dir():
            raise SetupError(f"{self.prompt_dir} (given as --prompt-dir) is not a folder")
