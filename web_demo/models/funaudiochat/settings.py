"""How one answer is generated: limits, sampling, and what the speech head does."""

from __future__ import annotations

from dataclasses import dataclass

from utils.constant import MAX_NEW_TOKENS, REPETITION_PENALTY, TEMPERATURE, TOP_K, TOP_P


@dataclass(frozen=True)
class GenerationSettings:
    """`top_k` 0 and `top_p` 1 switch those limits off. `seed` None: drawn by the engine.

    `text_greedy` takes the largest raw text logit and applies no text processor; the speech side still samples.
    `bad_words` are sequences of text ids whose last id is never chosen right after the others.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    eos_ids: tuple[int, ...] = ()  # empty: the checkpoint's
    do_sample: bool = True
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    top_k: int = TOP_K
    repetition_penalty: float = REPETITION_PENALTY
    bad_words: tuple[tuple[int, ...], ...] = ()
    text_greedy: bool = False
    speech: bool = True
    force_audio_bos: bool = True
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not self.temperature > 0 or not self.repetition_penalty > 0:
            raise ValueError(
                f"temperature and repetition_penalty must be positive, got {self.temperature} and "
                f"{self.repetition_penalty}; for no randomness use do_sample=False"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or positive, got {self.top_k}")
        if any(not word for word in self.bad_words):
            raise ValueError("a bad word must have at least one token")
