"""Mel to wave, for a batch of streams: the state that a stream needs is bounded, the result is that of one whole call.

Frame arithmetic (the reference's): with M mel frames known the decoder can do M - 7 (3 more are looked at by the pitch,
4 by the first convolution) and M - 8 frames of samples come out; at the end of a stream all M. A call starts where the
decoder stood (`done` frames), is given the mel from there on, and *advances* by some frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import HiftConfig
from .f0 import LOOK_RIGHT, F0Predictor
from .hift import HiftDecoder
from .source import Excitation
from .spectrum import Spectrum
from .tails import Tails, TailShape, packed_size


@dataclass
class VocoderState:
    """Of B streams; zeros everywhere for a new one."""

    done: Tensor  # [B] int64, frames that the decoder has done
    f0_tails: Tensor  # [B, n] float64
    phase: Tensor  # [B, harmonics] float64, turns summed over the frames done
    source_tail: Tensor  # [B, n_fft / 2], the last source samples
    tails: Tensor  # [B, n]


@dataclass(frozen=True)
class Advance:
    """What a call does, per row: [B] each."""

    frames: Tensor  # int64, frames to advance
    final: Tensor  # bool, the utterance ends with these frames


class Vocoder(nn.Module):
    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.f0_predictor = F0Predictor(config.in_channels, config.f0_channels)
        self.m_source = Excitation(config)
        self.decoder = HiftDecoder(config)
        self.spectrum = Spectrum(config.n_fft, config.hop_len)
        bands = config.n_fft + 2
        # One frame of samples is held back, so its spectrum (and one step, which it overlaps) is kept.
        self._held_steps = config.steps_per_frame + 1
        held = TailShape(bands, self._held_steps, config.steps_per_frame)
        self._shapes = [*self.decoder.tail_shapes, held]
        self.tails: type[Tails] = Tails  # of the device

    @property
    def lookahead_frames(self) -> int:
        """Frames of mel that the decoder stays behind the last known one."""
        return LOOK_RIGHT + self.config.conv_pre_look_right

    @property
    def mel_frames(self) -> int:
        """Frames that a call's mel must have beyond those it advances at most."""
        return max(LOOK_RIGHT + 1, self.config.conv_pre_look_right)

    def new_state(self, batch: int) -> VocoderState:
        device = self.m_source.noise.device
        config = self.config
        f0_tails = torch.zeros(batch, packed_size(self.f0_predictor.tail_shapes), dtype=torch.float64, device=device)
        return VocoderState(
            done=torch.zeros(batch, dtype=torch.int64, device=device),
            f0_tails=f0_tails,
            phase=torch.zeros(batch, config.nb_harmonics + 1, dtype=torch.float64, device=device),
            source_tail=torch.zeros(batch, config.n_fft // 2, device=device),
            tails=torch.zeros(batch, packed_size(self._shapes), device=device),
        )

    def forward(self, mel: Tensor, state: VocoderState, advance: Advance) -> tuple[Tensor, VocoderState]:
        """mel: [B, mel, T + mel_frames], zeros past each row's last known frame; T >= advance.frames.

        Returns samples [B, (T + 1) * samples per frame] and the new state. A row's samples begin one frame before
        `done`; see `sample_range` for which of them are speech.
        """
        source, f0_tails, phase = self.excite(mel, state, advance)
        samples, source_tail, tails = self.decode(mel, source, state, advance)
        new = VocoderState(state.done + advance.frames, f0_tails, phase, source_tail, tails)
        return samples, new

    def excite(self, mel: Tensor, state: VocoderState, advance: Advance) -> tuple[Tensor, Tensor, Tensor]:
        """Source samples [B, (T + 1) * samples per frame], new f0 tails, new phase."""
        f0_tails = self.tails(self.f0_predictor.tail_shapes, state.f0_tails, advance.frames)
        f0 = self.f0_predictor(mel[:, :, : mel.shape[2] - self.mel_frames + LOOK_RIGHT + 1], f0_tails)
        source, sums = self.m_source(f0, state.phase, state.done)
        phase = sums.gather(1, advance.frames[:, None, None].expand(-1, 1, sums.shape[2])).squeeze(1)
        return source, f0_tails.packed(), phase

    def decode(
        self, mel: Tensor, source: Tensor, state: VocoderState, advance: Advance
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Samples as in `forward`, new source tail, new tails."""
        config = self.config
        first = state.done == 0
        padded, source_tail = self._padded_source(source, state.source_tail, first, advance)
        tails = self.tails(self._shapes, state.tails, advance.frames)
        frames = mel.shape[2] - self.mel_frames
        x = mel[:, :, : frames + config.conv_pre_look_right]
        post = tails.prepend(self.decoder(x, self.spectrum(padded), first, tails))
        step = torch.arange(post.shape[2], device=mel.device) - self._held_steps
        end = torch.where(advance.final, advance.frames * config.steps_per_frame, post.shape[2])
        valid = ((step >= 0) | ~first[:, None]) & (step <= end[:, None])
        samples = self.spectrum.inverse(self._complex(post), valid.to(post.dtype))
        begin = config.n_fft // 2 + config.hop_len
        samples = samples[:, begin : begin + (frames + 1) * config.samples_per_frame]
        return samples.clamp(-config.audio_limit, config.audio_limit), source_tail, tails.packed()

    def _padded_source(self, source: Tensor, tail: Tensor, first: Tensor, advance: Advance) -> tuple[Tensor, Tensor]:
        """The source with half a window on both sides (the stream's own samples, at its ends their mirror image), and
        the new tail."""
        half = self.config.n_fft // 2
        joined = torch.cat([tail, source], dim=1)
        position = torch.arange(joined.shape[1] - self.config.samples_per_frame + half, device=source.device) - half
        end = (advance.frames * self.config.samples_per_frame)[:, None]
        index = position.expand(len(tail), -1)
        index = torch.where((index < 0) & first[:, None], -index, index)
        index = torch.where((index >= end) & advance.final[:, None], 2 * (end - 1) - index, index)
        padded = joined.gather(1, (index + half).clamp(min=0))
        new_tail = joined.gather(1, end + torch.arange(half, device=source.device))
        return padded, new_tail

    def _complex(self, post: Tensor) -> Tensor:
        log_magnitude, raw_phase = post.chunk(2, dim=1)
        magnitude = log_magnitude.exp().clamp(max=1e2)
        phase = torch.sin(raw_phase)
        return torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=1)

    def sample_range(self, done: int, frames: int, final: bool) -> tuple[int, int]:
        """Which samples of a row's output are its speech: begin and end."""
        per_frame = self.config.samples_per_frame
        begin = per_frame if done == 0 else 0
        return begin, max(begin, (frames + int(final)) * per_frame)

    @torch.inference_mode()
    def whole(self, mel: Tensor) -> Tensor:
        """One whole utterance: [1, mel, T] -> [1, T * samples per frame]."""
        frames = mel.shape[2]
        samples, _ = self(
            nn.functional.pad(mel, (0, self.mel_frames)),
            self.new_state(1),
            Advance(torch.tensor([frames], device=mel.device), torch.tensor([True], device=mel.device)),
        )
        begin, end = self.sample_range(0, frames, final=True)
        speech: Tensor = samples[:, begin:end]
        return speech
