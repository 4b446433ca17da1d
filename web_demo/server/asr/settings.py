"""The settings of the ASR service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from web_demo.audio import end_of_turn
from web_demo.server.common.forms import BODY_S
from web_demo.server.common.settings import TURN_MODEL, ServiceSettings, option


@dataclass(frozen=True, kw_only=True)
class AsrSettings(ServiceSettings):
    """`base_url` and `remote_model` belong to the `openai` engine, which takes its key from the environment."""

    kind: ClassVar[str] = "asr"

    port: int = 8003
    model_path: Path | None = Path("pretrained_models/Fun-ASR-Nano-2512")
    max_queue: int = field(default=32, metadata=option("requests that may wait", least=0))
    max_upload_mb: int = field(default=256, metadata=option("largest file", least=1))
    max_audio_s: float = field(default=7200.0, metadata=option("longest recording in seconds", least=1))
    body_s: float = BODY_S  # what an upload has besides its minimum rate
    max_live: int = field(default=8, metadata=option("live streams at once", least=0))
    processes: int = 0  # of the embedded engine; 0: as many as it likes
    turn_model: str = field(default=end_of_turn.AUTO, metadata=TURN_MODEL)
    use_vllm: bool = field(default=False, metadata=option("funasr engine: decode with vLLM (own environment)"))
    base_url: str = field(default="", metadata=option("openai engine: such as http://localhost:8005/v1"))
    remote_model: str = field(default="openai/whisper-large-v3", metadata=option("openai engine: model at --base-url"))
