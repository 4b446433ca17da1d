"""How each kind of golden case is computed with this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from web_demo.audio.samples import Audio, from_wav

from .config import load_config
from .engine.token2wav import Stream, StreamSettings, Token2Wav
from .flow.dit import NoHistory, rotations
from .flow.flow import Flow
from .flow.noise import fixed_noise
from .frontend import Frontend, with_system_prompt
from .lm import ras
from .lm.generate import LmInput, SilenceFilter, generate
from .lm.lm import SpeechLm, load_lm
from .load import load_flow, load_vocoder
from .vocoder.stretch import stretched
from .vocoder.vocoder import Advance, Vocoder
from .voices import SPEAKERS_NAME, Voice, load_voices

MEL, F0, SPEECH_GIVEN_SOURCE, LOGP = 1e-4, 1e-2, 2e-5, 1e-4
SPEECH, SPEECH_MEAN = 1e-2, 5e-4
ACTIVATION = 1e-4
EMBEDDING = 1e-4

Tensors = Mapping[str, Tensor]
Case = Mapping[str, Any]


class Found(Protocol):
    """What a check reports to (see `parity.Differences`)."""

    def close(self, name: str, got: Tensor, wanted: Tensor, limit: float, mean: float | None = None) -> None: ...
    def equal(self, name: str, got: object, wanted: object) -> None: ...


class Golden:
    """The models of a golden directory, loaded when a case first needs them."""

    def __init__(self, directory: Path, device: str) -> None:
        self.cases = directory / "cases"
        self.model = directory / "model"
        self.device = device
        self.config = load_config(self.model)

    @cached_property
    def flow(self) -> Flow:
        return load_flow(self.model, device=self.device, config=self.config)

    @cached_property
    def vocoder(self) -> Vocoder:
        return load_vocoder(self.model, device=self.device, config=self.config)

    @cached_property
    def lm(self) -> SpeechLm:
        return load_lm(self.model, device=self.device, config=self.config)

    @cached_property
    def frontend(self) -> Frontend:
        return Frontend(self.model, self.config)

    def check_noise(self, file: Path, found: Found) -> None:
        noise, wanted = fixed_noise(self.config), load_file(file)
        start = wanted["rand_noise"]
        found.close("rand_noise", noise.start[None, :, : start.shape[2]], start, 0.0)
        source = wanted["sine_waves"]
        found.close("sine_waves", torch.cat(list(noise.source(source.shape[1])))[None], source, 0.0)

    def mel(self, tensors: Tensors, **options: Any) -> Tensor:
        none = torch.zeros(1, 0, dtype=torch.int32)
        return self.flow.whole(
            options.pop("token", tensors["token"]).to(self.device),
            tensors["embedding"].to(self.device),
            prompt_tokens=tensors.get("prompt_token", none).to(self.device),
            prompt_mel=tensors.get("prompt_feat", torch.zeros(1, 0, self.config.flow.output_size)).to(self.device),
            **options,
        )

    def excitation(self, mel: Tensor, final: bool) -> tuple[Tensor, Tensor, Advance]:
        """Padded mel, source samples and the advance of one whole call on the reference's terms."""
        vocoder = self.vocoder
        mel = mel.to(self.device)
        frames = mel.shape[2] if final else mel.shape[2] - vocoder.lookahead_frames
        room = frames + vocoder.mel_frames
        padded = F.pad(mel[:, :, :room], (0, room - min(room, mel.shape[2])))
        advance = Advance(torch.tensor([frames], device=self.device), torch.tensor([final], device=self.device))
        source, _, _ = vocoder.excite(padded, vocoder.new_state(1), advance)
        return padded, source, advance


@torch.inference_mode()
def whole(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    if "spk" in tensors:
        found.close("spk", golden.flow.speaker(tensors["embedding"].to(golden.device)), tensors["spk"], MEL)
    if "lookahead_out" in tensors:
        tokens = F.pad(tensors["token"].long(), (2, golden.config.flow.pre_lookahead_len)).to(golden.device)
        present = F.pad(torch.ones_like(tensors["token"], dtype=torch.bool), (2, 3)).to(golden.device)
        mu = golden.flow.encode(tokens, present, torch.ones(1, dtype=torch.bool, device=golden.device))
        found.close("lookahead_out", mu[:, :: golden.config.flow.token_mel_ratio], tensors["lookahead_out"], MEL)
    mel = golden.mel(tensors, chunk_mask=False)
    found.close("mel", mel, tensors["mel"], MEL)
    found.close("mel_streaming_mask", golden.mel(tensors, chunk_mask=True), tensors["mel_streaming_mask"], MEL)
    found.close("speech", golden.vocoder.whole(mel), tensors["speech"], SPEECH, SPEECH_MEAN)
    vocoder = golden.vocoder
    with _recording(vocoder, ["f0_predictor"]) as recorded:
        _, source, _ = golden.excitation(tensors["mel"], final=True)
    found.close("f0", recorded["f0_predictor"][:, : tensors["f0"].shape[1]], tensors["f0"], F0)
    samples = tensors["source"].shape[2]
    found.close("source", source[:, None, :samples], tensors["source"], SPEECH, SPEECH_MEAN)


def vocoder(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    """Activations and speech, given the reference's own source."""
    final = case["finalize"]
    modules = {name.removeprefix("act."): name for name in tensors if name.startswith("act.")}
    ours = {_vocoder_module(name): name for name in modules if _vocoder_module(name)}
    with torch.inference_mode(), _recording(golden.vocoder, list(ours)) as recorded:
        mel, own, advance = golden.excitation(tensors["mel"], final)
        given = tensors["source"][0].to(golden.device)
        length = min(own.shape[1], given.shape[1])
        found.close("source", own[:, :length], given[:, :length], SPEECH, SPEECH_MEAN)
        source = F.pad(given[:, :length], (0, own.shape[1] - length))
        samples, _, _ = golden.vocoder.decode(mel, source, golden.vocoder.new_state(1), advance)
    for module, name in ours.items():
        wanted, got = tensors[f"act.{name}"], recorded[module]
        found.close(name, got[..., : wanted.shape[-1]], wanted[..., : got.shape[-1]], ACTIVATION)
    begin, end = golden.vocoder.sample_range(0, int(advance.frames[0]), final)
    found.close("speech", samples[:, begin:end], tensors["speech"], SPEECH_GIVEN_SOURCE)


def _vocoder_module(name: str) -> str:
    """Our name of a module of the reference's vocoder; "" for one that we have as a function (the ELUs)."""
    if name.startswith("f0_predictor.condnet."):
        return name if int(name.rpartition(".")[2]) % 2 == 0 else ""
    return name if name.startswith("f0_predictor") else f"decoder.{name}"


@torch.inference_mode()
def speed(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    mel = stretched(golden.mel(tensors, chunk_mask=False), case["speed"])
    found.close("mel_resampled", mel, tensors["mel_resampled"], MEL)
    found.close("speech", golden.vocoder.whole(mel), tensors["speech"], SPEECH, SPEECH_MEAN)


def stream(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    """Every call with the chunk mask through the incremental state; a last call with full attention in one go."""
    token2wav, opened, ends = _stream(golden, case, tensors)
    prompt = len(opened.cursor.tokens)
    tokens = tensors["token"][0].tolist()
    ratio, sent = golden.config.flow.token_mel_ratio, 0
    mels: list[Tensor] = []
    for number, call in enumerate(case["calls"]):
        begin = len(opened.cursor.tokens) - prompt
        opened.feed(tokens[begin : call["n_in"]], last=call["finalize"])
        wanted_mel, wanted = tensors[f"chunk{number}_mel"], tensors[f"chunk{number}_speech"]
        given = tensors["token"][:, : call["n_in"]]
        mel = golden.mel(tensors, token=given, chunk_mask=call["stream"], final=call["finalize"])
        mels.append(mel[:, :, call["token_offset"] * ratio :])
        found.close("mel", mels[-1], wanted_mel, MEL)
        if call["stream"]:
            piece = opened.cursor.piece(prompt + ends[number], last=call["finalize"])
            made = token2wav.run_pieces([(opened, piece)])
            samples = torch.from_numpy(made[0][1])[None] if made else torch.zeros(1, 0)
        else:
            samples = golden.vocoder.whole(torch.cat(mels, dim=2))[:, sent:]
        sent += samples.shape[1]
        found.close("speech", samples, wanted, SPEECH, SPEECH_MEAN)
    token2wav.close(opened)


def _stream(golden: Golden, case: Case, tensors: Tensors) -> tuple[Token2Wav, Stream, list[int]]:
    """A stream with room for the whole case, and the token (without the prompt) at which each call ends."""
    flow = golden.config.flow
    prompt = tensors["prompt_token"]
    total = prompt.shape[1] + tensors["token"].shape[1]
    blocks = max(2, -(-total // flow.block_tokens))
    rate = golden.config.sample_rate / golden.config.hift.samples_per_frame
    settings = StreamSettings(
        slots=1,
        context_s=blocks * flow.dit.static_chunk_size / rate,
        batches=(1,),
        pieces=(blocks * flow.block_tokens,),
    )
    token2wav = Token2Wav(golden.flow, golden.vocoder, settings)
    voice = Voice(tensors["embedding"], tuple(prompt[0].tolist()), tensors["prompt_feat"][0])
    ends = [call["n_in"] - (0 if call["finalize"] else flow.pre_lookahead_len) for call in case["calls"]]
    return token2wav, token2wav.open(voice), ends


@torch.inference_mode()
def estimator(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    """Every Euler step from the reference's own state, activations of the first, then the solved mel."""
    flow, device = golden.flow, golden.device
    condition = flow.estimator.condition(
        tensors["in.mu"][:1].mT.to(device), tensors["in.cond"][:1].mT.to(device), tensors["in.spks"][:1].to(device)
    )
    positions = torch.arange(condition.shape[1], device=device)[None]
    rotation = rotations(positions, golden.config.flow.dit.dim_head)
    mask = flow.block_mask(positions) if case["streaming"] else None
    found.close("t_all", flow.times, tensors["t_all"], 1e-6)
    names = {
        "conv_pos_embed": "input_embed.conv_pos_embed",
        "proj_out": "proj_out",
        **{f"blocks.{i}": f"transformer_blocks.{i}" for i in range(golden.config.flow.dit.depth)},
    }
    for step, state in enumerate(tensors["x_all"]):
        x = state.T[None].to(device)
        with _recording(flow.estimator, list(names) if step == 0 else []) as recorded:
            velocity = flow.estimator(x, condition, step, rotation, NoHistory(mask))
        found.close("v_all", velocity.mT, tensors["v_all"][step], MEL)
        for ours, theirs in names.items():
            if step == 0 and f"act.{theirs}" in tensors:
                found.close(theirs, recorded[ours], tensors[f"act.{theirs}"], ACTIVATION)
    found.close("mel", golden.mel(tensors, chunk_mask=case["streaming"]), tensors["mel"], MEL)


def frontend(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    voice = golden.frontend.voice(_prompt(golden, case), case["prompt_text"])
    for name, got in (
        ("text", golden.frontend.text_ids(case["tts_text"])),
        ("prompt_text", voice.prompt_text),
        ("llm_prompt_speech_token", voice.prompt_tokens),
        ("flow_prompt_speech_token", voice.prompt_tokens),
    ):
        found.equal(name, list(got), tensors[name][0].tolist())
    found.close("prompt_speech_feat", voice.prompt_mel[None], tensors["prompt_speech_feat"], MEL)
    for name in ("llm_embedding", "flow_embedding"):
        found.close(name, voice.embedding, tensors[name], EMBEDDING)


def _prompt(golden: Golden, case: Case) -> Audio:
    return from_wav((golden.cases / case.get("prompt_wav", "prompt_24k.wav")).read_bytes())


def lm(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    text, prompt_text, speech = (
        tuple(tensors[name][0].tolist()) for name in ("text", "prompt_text", "prompt_speech_token")
    )
    prompted = LmInput(text, prompt_text, speech)
    _greedy(golden, found, "greedy", tensors, prompted, window=0)
    _greedy(golden, found, "greedy_norepeat10", tensors, prompted, window=10)
    _greedy(golden, found, "noprompt_greedy_norepeat10", tensors, LmInput(text, prompt_text), window=10)
    for name in tensors:
        if name.startswith("ras_tokens_seed"):
            seed = int(name.removeprefix("ras_tokens_seed"))
            found.equal(name, _sampled(golden, prompted, seed), tensors[name].tolist())


def _greedy(golden: Golden, found: Found, name: str, tensors: Tensors, given: LmInput, window: int) -> None:
    if f"{name}_tokens" not in tensors:
        return
    seen: list[Tensor] = []

    def choose(logp: Tensor, tokens: Sequence[int]) -> int:
        seen.append(logp)
        allowed = logp.clone()
        if window:
            allowed[list(tokens[-window:])] = -torch.inf
        return int(allowed.argmax())

    tokens = list(generate(golden.lm, given, choose, enforce_minimum=False))
    found.equal(f"{name}_tokens", tokens, tensors[f"{name}_tokens"].tolist())
    for key in tensors:
        if key.startswith(f"{name}_logp_first"):
            wanted = tensors[key]
            found.close(key, torch.stack(seen[: len(wanted)]), wanted, LOGP)


def _sampled(golden: Golden, given: LmInput, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)

    def choose(logp: Tensor, tokens: Sequence[int]) -> int:
        return ras.draw(logp, tokens, golden.config.lm, generator)

    return list(generate(golden.lm, given, choose, enforce_minimum=False))


def e2e(golden: Golden, case: Case, tensors: Tensors, found: Found) -> None:
    """Text to tokens with the case's seed, tokens to speech. The instruction of an instruct call is in no index: there
    only tokens to speech is compared, unless the case has an `instruct_text`."""
    voice = _e2e_voice(golden, case)
    given = _e2e_input(golden, case, voice)
    wanted = tensors["lm_tokens"].tolist()
    if given is not None:
        silence = SilenceFilter()
        tokens = [token for token in _sampled(golden, given, case["seed"]) if silence.keep(token)]
        found.equal("lm_tokens", tokens, wanted)
    data = {
        "token": tensors["lm_tokens"][None],
        "embedding": voice.embedding,
        "prompt_token": torch.tensor([voice.prompt_tokens], dtype=torch.int32),
        "prompt_feat": voice.prompt_mel[None],
    }
    mel, cuts = _e2e_mel(golden, case, data)
    found.equal("chunk_samples", cuts, tensors["chunk_samples"].tolist())
    found.close("speech", golden.vocoder.whole(mel), tensors["speech"], SPEECH, SPEECH_MEAN)


def _e2e_voice(golden: Golden, case: Case) -> Voice:
    if case["call"] == "sft":
        voices = load_voices(golden.model / SPEAKERS_NAME)
        return voices.get(case.get("spk_id", voices.default()))
    text = case["prompt_text"] if case["call"] == "zero_shot" else ""
    return golden.frontend.voice(_prompt(golden, case), text)


def _e2e_input(golden: Golden, case: Case, voice: Voice) -> LmInput | None:
    text = case["tts_text"]
    if case["call"] in ("sft", "cross_lingual"):
        return LmInput(golden.frontend.text_ids(with_system_prompt(text)))
    # A text without markers passes the reference's normaliser, which ends it with a full stop.
    ids = golden.frontend.text_ids(text if text[-1] in ".?!;:" or "<|" in text else f"{text}.")
    if case["call"] == "zero_shot":
        return LmInput(ids, voice.prompt_text, voice.prompt_tokens)
    instruction = case.get("instruct_text")
    return LmInput(ids, golden.frontend.text_ids(instruction)) if instruction else None


def _e2e_mel(golden: Golden, case: Case, data: Tensors) -> tuple[Tensor, list[int]]:
    """The mel of the reference's calls (hops growing from 25 to 100 tokens, the last call with full attention), and
    the samples that each of them gives."""
    flow = golden.config.flow
    per_frame = golden.config.hift.samples_per_frame
    total, prompt = data["token"].shape[1], data["prompt_token"].shape[1]
    hop, offset, sent = flow.block_tokens, 0, 0
    pad = -prompt % hop
    mels: list[Tensor] = []
    cuts: list[int] = []
    while case["stream"]:
        step = hop + pad if offset == 0 else hop
        end = offset + step + flow.pre_lookahead_len
        if end > total:
            break
        mel = golden.mel(data, token=data["token"][:, :end], chunk_mask=True, final=False)
        mels.append(mel[:, :, offset * flow.token_mel_ratio :])
        known = sum(part.shape[2] for part in mels)
        cuts.append((known - golden.vocoder.lookahead_frames - 1) * per_frame - sent)
        sent += cuts[-1]
        offset += step
        hop = min(4 * flow.block_tokens, 2 * hop)
    mels.append(golden.mel(data, chunk_mask=False)[:, :, offset * flow.token_mel_ratio :])
    mel = torch.cat(mels, dim=2)
    return mel, [*cuts, mel.shape[2] * per_frame - sent]


class _recording:
    """Outputs of named submodules during a call."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        self._module, self._names = module, names
        self._handles: list[Any] = []

    def __enter__(self) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for name in self._names:

            def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                outputs.setdefault(name, output[0] if isinstance(output, tuple) else output)

            self._handles.append(self._module.get_submodule(name).register_forward_hook(keep))
        return outputs

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()


CHECKS: Mapping[str, Callable[[Golden, Case, Tensors, Any], None]] = {
    "whole": whole,
    "stream": stream,
    "speed": speed,
    "vocoder": vocoder,
    "estimator": estimator,
    "frontend": frontend,
    "lm": lm,
    "e2e": e2e,
}
