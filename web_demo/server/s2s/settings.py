"""The settings of the S2S service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from web_demo.audio import end_of_turn
from web_demo.engines import registry
from web_demo.engines.s2s.cascade.language_model import MAX_REPLY_TOKENS
from web_demo.errors import SetupError
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.settings import TURN_MODEL, ServiceSettings, option
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.tts.settings import REMOTE_KEY_VARIABLE, TtsSettings

LLM_KEY_VARIABLE = "LLM_API_KEY"
DTYPES = ("auto", "bfloat16", "float16", "float32", "float8")


@dataclass(frozen=True, kw_only=True)
class S2sSettings(ServiceSettings):
    kind: ClassVar[str] = "s2s"

    port: int = 8002
    model_path: Path | None = Path("pretrained_models/Fun-Audio-Chat-8B")
    tts_gpu: int = field(default=0, metadata=option("GPU of the detokenizer subprocess"))
    dtype: str = field(
        default="auto",
        metadata=option(
            "of Fun-Audio-Chat's weights; float8: the layers' in 8 bits, for 7 GB less memory and slower frames "
            "(default: bfloat16 on a GPU, float32 elsewhere)",
            choices=DTYPES,
        ),
    )
    speech_cache: str = field(
        default="auto",
        metadata=option(
            "format of the speech head's caches in Fun-Audio-Chat; float8: a third more conversations in the same memory "
            "(default: as --dtype)",
            choices=("auto", "float8"),
        ),
    )
    tts_model_path: Path = field(
        default=Path("pretrained_models/Fun-CosyVoice3-0.5B-2512"), metadata=option("weights of the detokenizer")
    )
    max_sessions: int = field(default=64, metadata=option("conversations at once", least=1))
    max_sessions_per_client: int = field(
        default=0, metadata=option("conversations of one address (default: half of those that can be)", least=0)
    )
    max_turn_s: float = field(
        default=SessionLimits.max_turn_s, metadata=option("longest user turn in seconds", least=1, most=3600)
    )
    turn_model: str = field(default=end_of_turn.AUTO, metadata=TURN_MODEL)
    audio_lead_s: float = field(
        default=SessionLimits.prebuffer_s, metadata=option("how far audio is sent ahead of its time", least=0, most=10)
    )
    asr_engine: str = field(
        default="auto",
        metadata=option(
            "embedded engine: who listens (default: sherpa where its models are there, else embedded: English); Fun-Audio-Chat: "
            "who writes down what users say (default: the ASR service at --asr-url)",
            choices=lambda: ("auto", *registry.names("asr")),
        ),
    )
    asr_base_url: str = field(
        default="", metadata=option("--asr-engine openai: its server, such as http://127.0.0.1:8003/v1")
    )
    asr_model: str = field(default="", metadata=option("--asr-engine openai: the model there (default: its first)"))
    asr_model_path: Path | None = field(default=AsrSettings.model_path, metadata=option("weights for --asr-engine"))
    tts_engine: str = field(
        default="auto",
        metadata=option(
            "embedded engine: who speaks (default: sherpa where its models are there, else embedded); "
            "weights from --tts-model-path",
            choices=lambda: ("auto", *registry.names("tts")),
        ),
    )
    tts_base_url: str = field(
        default="", metadata=option("--tts-engine openai: its server, such as http://127.0.0.1:8004/v1")
    )
    tts_model: str = field(default="", metadata=option("--tts-engine openai: the model there (default: its first)"))
    tts_voice: str = field(default="", metadata=option("name of the voice of --tts-engine (default: its own default)"))
    tts_api_key: str = field(
        default="", repr=False, metadata=option("of --tts-base-url", flag="", variable=REMOTE_KEY_VARIABLE)
    )
    llm_base_url: str = field(
        default="",
        metadata=option(
            "OpenAI-compatible chat endpoint that thinks for the embedded engine, such as http://127.0.0.1:11434/v1"
        ),
    )
    llm_model: str = field(
        default="", metadata=option(f"model name at --llm-base-url; its key comes from ${LLM_KEY_VARIABLE}")
    )
    llm_api_key: str = field(
        default="", repr=False, metadata=option("of --llm-base-url", flag="", variable=LLM_KEY_VARIABLE)
    )
    llm_max_tokens: int = field(
        default=MAX_REPLY_TOKENS, metadata=option("longest reply of --llm-model in tokens, thoughts and all", least=1)
    )
    llm_options: str = field(
        default="",
        metadata=option(
            "JSON object of fields added to each request to --llm-base-url, such as "
            """'{"reasoning_effort": "none"}' for a model that need not think"""
        ),
    )
    asr_url: str = field(
        default="http://127.0.0.1:8003", metadata=option("ASR service that the page uses through this one")
    )
    tts_url: str = field(
        default="http://127.0.0.1:8004", metadata=option("TTS service that the page uses through this one")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, url in (("asr", self.asr_url), ("tts", self.tts_url)):
            if not url.startswith(("http://", "https://")):
                raise SetupError(f"--{name}-url must look like http://host:port, got {url!r}")
        self.llm_extra  # noqa: B018  # raises for what cannot be read

    @property
    def llm_extra(self) -> Mapping[str, Any]:
        """`llm_options` as an object. Raises SetupError."""
        try:
            value = json.loads(self.llm_options or "{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise SetupError(f"--llm-options must be a JSON object, got {self.llm_options[:60]!r}")
        return value

    @property
    def recogniser(self) -> AsrSettings:
        """Of the embedded engine, as the ASR service would have them."""
        return AsrSettings(
            engine=self.asr_engine,
            base_url=self.asr_base_url,
            remote_model=self.asr_model,
            model_path=self.asr_model_path,
            device=self.device,
        )

    @property
    def voice(self) -> TtsSettings:
        """Of the embedded engine, as the TTS service would have them."""
        return TtsSettings(
            engine=self.tts_engine,
            base_url=self.tts_base_url,
            remote_model=self.tts_model,
            remote_api_key=self.tts_api_key,
            model_path=self.tts_model_path,
            device=self.device,
        )

    @property
    def limits(self) -> SessionLimits:
        return SessionLimits(max_turn_s=self.max_turn_s, prebuffer_s=self.audio_lead_s)
