"""What the device knows about each slot: static buffers, so that a captured graph always finds them in the same place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from web_demo.models.funaudiochat.config import FunAudioChatConfig
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import Turn
from web_demo.models.runtime.kernels.sampling import SamplingRows

MAX_BAD_WORDS = 8
MAX_BAD_WORD_TOKENS = 4
_ANY = -1  # in a bad word's prefix: any token matches; as its last token: unused entry


@dataclass(eq=False)
class SlotState:
    """Everything [S + 1, …]: one row a slot, and a last one that padding rows of a batch use and that never advances."""

    token: Tensor  # int64, input of the next frame
    codes: Tensor  # int64 [., group], emitted by the last frame
    given: Tensor  # bool, whether the last frame emitted them
    speaking: Tensor  # bool
    last_code: Tensor  # int64, the newest code that the speech head chose
    position: Tensor  # int64, of `token`
    frame: Tensor  # int64, frames done: which uniform numbers come next
    speech: Tensor  # bool, the turn has speech output at all
    force_bos: Tensor  # bool, the first id is audio_bos whatever was chosen
    text_greedy: Tensor  # bool
    sample: Tensor  # bool
    temperature: Tensor  # float32
    top_p: Tensor  # float32
    top_k: Tensor  # int64
    penalty: Tensor  # float32
    text_seen: Tensor  # bool [., vocabulary]: prompt and answer
    code_seen: Tensor  # bool [., codebook]: emitted codes of this answer
    recent: Tensor  # int64 [., MAX_BAD_WORD_TOKENS - 1], newest text ids
    bad_prefix: Tensor  # int64 [., MAX_BAD_WORDS, MAX_BAD_WORD_TOKENS - 1]
    bad_last: Tensor  # int64 [., MAX_BAD_WORDS]
    uniform: Tensor  # float32 [., max_new_tokens, group + 1]: a draw for each code, then one for the text
    block_tables: Tensor  # int64 [., pages_per_turn]: the pages of the slot, in order

    @classmethod
    def allocate(cls, config: FunAudioChatConfig, limits: Limits, device: torch.device) -> SlotState:
        rows, group = limits.slots + 1, config.audio.group_size

        def zeros(*shape: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.zeros(rows, *shape, dtype=dtype, device=device)

        real, flag = torch.float32, torch.bool
        return cls(
            token=zeros(),
            codes=zeros(group),
            given=zeros(dtype=flag),
            speaking=zeros(dtype=flag),
            last_code=zeros(),
            position=zeros(),
            frame=zeros(),
            speech=zeros(dtype=flag),
            force_bos=zeros(dtype=flag),
            text_greedy=zeros(dtype=flag),
            sample=zeros(dtype=flag),
            temperature=zeros(dtype=real) + 1,
            top_p=zeros(dtype=real) + 1,
            top_k=zeros(),
            penalty=zeros(dtype=real) + 1,
            text_seen=zeros(config.text.vocab_size, dtype=flag),
            code_seen=zeros(config.audio.codebook_size, dtype=flag),
            recent=zeros(MAX_BAD_WORD_TOKENS - 1),
            bad_prefix=zeros(MAX_BAD_WORDS, MAX_BAD_WORD_TOKENS - 1) + _ANY,
            bad_last=zeros(MAX_BAD_WORDS) + _ANY,
            uniform=zeros(limits.max_new_tokens, group + 1, dtype=real),
            block_tables=zeros(limits.pages_per_turn),
        )

    @property
    def scratch(self) -> int:
        return self.token.shape[0] - 1

    def sampling(self, rows: Tensor) -> SamplingRows:
        return SamplingRows(
            self.sample[rows], self.temperature[rows], self.top_p[rows], self.top_k[rows], self.penalty[rows]
        )

    def admit(self, turn: Turn, config: FunAudioChatConfig) -> None:
        """Fill the row of a turn's slot: settings, prompt history, pages, random numbers, and the first input."""
        slot, settings, ids = turn.slot, turn.request.settings, turn.request.prompt.ids
        device = self.token.device
        prompt = torch.tensor(ids, dtype=torch.long, device=device)
        self.token[slot] = ids[-1]
        self.position[slot] = turn.prefill_length
        self.last_code[slot] = config.audio.bos_id
        for cleared in (self.codes, self.given, self.speaking, self.frame, self.text_seen, self.code_seen):
            cleared[slot] = 0
        self.text_seen[slot, prompt] = True
        for name in ("speech", "text_greedy", "temperature", "top_p", "top_k"):
            getattr(self, name)[slot] = getattr(settings, name)
        self.force_bos[slot] = settings.force_audio_bos
        self.sample[slot] = settings.do_sample
        self.penalty[slot] = settings.repetition_penalty
        self._admit_bad_words(turn, prompt)
        if settings.do_sample:
            self.uniform[slot, : settings.max_new_tokens] = uniform_table(
                settings.seed, settings.max_new_tokens, self.uniform.shape[-1]
            ).to(device)
        self.block_tables[slot] = 0
        self.block_tables[slot, : len(turn.pages)] = torch.tensor(turn.pages, device=device)

    def _admit_bad_words(self, turn: Turn, prompt: Tensor) -> None:
        slot, width = turn.slot, self.recent.shape[-1]
        tail = prompt[-width:]
        self.recent[slot] = -2  # equal to no id: a bad word longer than the text so far does not match
        self.recent[slot, width - len(tail) :] = tail
        self.bad_prefix[slot] = _ANY
        self.bad_last[slot] = _ANY
        for index, word in enumerate(turn.request.settings.bad_words):
            prefix = torch.tensor(word[:-1], dtype=torch.long, device=prompt.device)
            self.bad_prefix[slot, index, width - len(prefix) :] = prefix
            self.bad_last[slot, index] = word[-1]


def uniform_table(seed: int | None, frames: int, draws: int) -> Tensor:
    """The random numbers of a turn, float32 [frames, draws] in [0, 1), the same for a seed on every device."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return torch.rand(frames, draws, generator=generator)


def check_bad_words(bad_words: tuple[tuple[int, ...], ...], vocabulary: int) -> None:
    """Raises ValueError for bad words that the slots have no room for."""
    if len(bad_words) > MAX_BAD_WORDS or any(len(word) > MAX_BAD_WORD_TOKENS for word in bad_words):
        raise ValueError(f"at most {MAX_BAD_WORDS} bad words of at most {MAX_BAD_WORD_TOKENS} tokens are supported")
    if any(not 0 <= token < vocabulary for word in bad_words for token in word):
        raise ValueError(f"a bad word has an id outside 0..{vocabulary - 1}")
