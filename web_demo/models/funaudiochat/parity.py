"""Compare this code with golden data recorded from the original implementation (`scripts/check_parity.py funaudiochat`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
import torch
from safetensors import safe_open
from torch import Tensor

from web_demo.audio.samples import Audio
from web_demo.models.funaudiochat.loader import load_model
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import AudioInput, Processor, Prompt, truncated_codes
from web_demo.models.funaudiochat.reference import ReferenceStep, generate
from web_demo.models.funaudiochat.settings import GenerationSettings
from web_demo.models.parity import CaseResult

# Largest absolute differences in float32, about ten times what threads and attention kernels change.
TOLERANCES = {"features": 1e-4, "hidden": 1e-4, "text_logits": 2e-4, "crq_logits": 5e-4}

Tensors = dict[str, Tensor]
Record = Mapping[str, Any]


@dataclass
class Comparison:
    """The differences found in one case."""

    differences: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def close(self, name: str, kind: str, got: Tensor, golden: Tensor) -> None:
        """Record the largest difference; positions that are minus infinity in both count as equal."""
        if got.shape != golden.shape:
            self.problems.append(f"{name}: shape {list(got.shape)}, golden {list(golden.shape)}")
            return
        got, golden = got.detach().float().cpu(), golden.float()
        same = got == golden  # infinities too
        difference = float(torch.where(same, 0.0, (got - golden).abs()).max()) if golden.numel() else 0.0
        label = name.rpartition(".")[2]
        self.differences[label] = max(difference, self.differences.get(label, 0.0))
        if not difference <= TOLERANCES[kind]:
            self.problems.append(f"{name}: differs by {difference:.2e}, allowed {TOLERANCES[kind]:.0e}")

    def equal(self, name: str, got: Any, golden: Any) -> None:
        if got != golden:
            self.problems.append(f"{name}: {_first_difference(got, golden)}")


def _first_difference(got: Any, golden: Any) -> str:
    if isinstance(got, str) or not hasattr(got, "__len__") or not hasattr(golden, "__len__"):
        return f"got {got!r}, golden {golden!r}"
    for index, (one, other) in enumerate(zip(got, golden, strict=False)):
        if one != other:
            return f"at {index} got {one!r}, golden {other!r}"
    return f"got {len(got)} values, golden {len(golden)}"


def _tensors(path: Path) -> Tensors:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)


def read_audio(golden: Path, case: Record) -> list[AudioInput]:
    """What the original was given: "json" entries carry codes as text and maybe a file, "wav" ones are bare arrays."""
    given = []
    for entry in case["audio"]:
        name = entry["wav"] if case["audio_given_as"] == "wav" else entry["path"]
        samples = None
        if name:
            data, rate = soundfile.read(golden / name, dtype="float32", always_2d=True)
            samples = Audio(data.mean(axis=1), rate).at(16_000).samples
        if case["audio_given_as"] == "wav":
            assert samples is not None, f"{case['name']}: a wav entry without a file"
            given.append(AudioInput(samples, truncated_codes(len(samples), 16_000)))
        else:
            given.append(AudioInput(samples, entry["token"]))
    return given


def run_settings(run: Record) -> GenerationSettings:
    """The settings of a recorded run, in our names."""
    generation, speech = run["generate_kwargs"], run["sp_gen_kwargs"]
    if not speech["only_crq_sampling"]:
        raise KeyError("only_crq_sampling off: the original is wrong there, and this code has no such mode")
    eos = generation["eos_token_id"]
    return GenerationSettings(
        max_new_tokens=generation["max_new_tokens"],
        eos_ids=tuple(eos) if isinstance(eos, list) else (eos,),
        do_sample=generation["do_sample"],
        temperature=generation.get("temperature", 1.0),
        top_p=generation.get("top_p", 1.0),
        top_k=generation.get("top_k", 0),
        repetition_penalty=generation.get("repetition_penalty", 1.0),
        bad_words=tuple(tuple(word) for word in generation.get("bad_words_ids") or ()),
        text_greedy=speech["text_greedy"],
        speech=not speech["disable_speech"],
        force_audio_bos=speech["force_text_abos"],
        seed=run["torch_manual_seed"],
    )


def _compare_inputs(compare: Comparison, golden: Path, case: Record, tensors: Tensors, prompt: Prompt) -> None:
    compare.equal("input_ids", list(prompt.ids), tensors["input_ids"][0].tolist())
    for index, audio in enumerate(prompt.audios):
        mask = tensors["speech_attention_mask"][index].bool()
        compare.equal(f"speech_ids[{index}]", audio.codes.tolist(), tensors["speech_ids"][index][mask].tolist())
    heard = [audio.features for audio in prompt.audios if audio.features is not None]
    compare.equal("feature_frames", [one.shape[1] for one in heard], case.get("feature_frames") or [])
    offset = case.get("input_features_valid_offset") or 0
    for got, place in zip(heard, case.get("input_features_at") or [], strict=True):
        owner, _, name = place.partition("/")
        stored = _tensors(golden / "cases" / f"{owner}.safetensors")[name]
        compare.close("features", "features", got[:, offset:], stored)


@torch.inference_mode()
def _compare_encoders(compare: Comparison, model: FunAudioChat, tensors: Tensors, prompt: Prompt) -> None:
    heard = [audio.features.to(model.device) for audio in prompt.audios if audio.features is not None]
    if heard:
        traced: list[Tensor] = []
        vectors = model.continuous_audio_tower(heard, traced)
        if "enc.layers_input" in tensors:
            compare.close("enc.layers_input", "hidden", traced[0], tensors["enc.layers_input"])
            for index, out in enumerate(traced[1:]):
                compare.close(f"enc.layer_{index}_out", "hidden", out, tensors[f"enc.layer_{index}_out"])
        for index, one in enumerate(vectors):
            golden = tensors["enc.continuous"][index]
            one = one[: golden.shape[0]].cpu()
            padded = torch.zeros_like(golden)
            padded[: one.shape[0]] = one
            compare.close("enc.continuous", "hidden", padded, golden)
    for index, audio in enumerate(prompt.audios):
        slots = model.embed_audio(audio.codes, audio.features)
        compare.close("enc.audio_tower", "hidden", slots, tensors["enc.audio_tower"][index, : audio.slots])


def _compare_prefill(compare: Comparison, tensors: Tensors, step: ReferenceStep) -> None:
    compare.close("prefill.inputs_embeds", "hidden", step.inputs_embeds, tensors["prefill.inputs_embeds"][0])
    compare.close("prefill.last_hidden", "hidden", step.last_hidden, tensors["prefill.last_hidden"][0])
    compare.close("prefill.text_logits_last", "text_logits", step.text_logits, tensors["prefill.text_logits_last"])
    if step.crq_in is not None and "prefill.crq_in" in tensors:
        compare.close("prefill.crq_in", "hidden", step.crq_in, tensors["prefill.crq_in"][0])


def _top(compare: Comparison, name: str, kind: str, full: Tensor, run: Tensors, values: str, ids: str) -> None:
    """Compare the golden top values, taken at the golden ids, with a full row of ours ([..., V])."""
    if values in run:
        compare.close(name, kind, full.cpu().gather(-1, run[ids].long()), run[values])


def _compare_steps(compare: Comparison, name: str, run: Tensors, steps: list[ReferenceStep]) -> None:
    for attribute in ("inputs_embeds", "last_hidden", "crq_in"):
        rows = [getattr(step, attribute) for step in steps]
        if f"step.{attribute}" in run and rows[0] is not None:
            last = torch.stack([row[-1] for row in rows])
            compare.close(f"{name}.{attribute}", "hidden", last, run[f"step.{attribute}"])
    text_logits = torch.stack([step.text_logits for step in steps])
    text_scores = torch.stack([step.text_scores for step in steps])
    for label, full in (("logits", text_logits), ("scores", text_scores)):
        if f"step.text_{label}" in run:
            compare.close(f"{name}.text_{label}", "text_logits", full, run[f"step.text_{label}"])
    _top(compare, f"{name}.text_logits", "text_logits", text_logits, run, "step.text_top8_logits", "step.text_top8_ids")
    _top(
        compare,
        f"{name}.text_scores",
        "text_logits",
        text_scores,
        run,
        "step.text_top8_scores",
        "step.text_top8_score_ids",
    )
    if "step.generate_speech" in run:
        compare.equal(
            f"{name}.speaking", [step.speaking for step in steps], run["step.generate_speech"].bool().tolist()
        )
    traces = [step.speech for step in steps if step.speech is not None]
    if not traces:
        return
    logits = torch.stack([trace.logits for trace in traces])
    scores = torch.stack([trace.scores for trace in traces])
    compare.equal(f"{name}.crq_tokens", [list(step.chosen) for step in steps], run["step.crq_tokens"].tolist())
    _top(compare, f"{name}.crq_logits", "crq_logits", logits, run, "step.crq_top8_logits", "step.crq_top8_ids")
    _top(compare, f"{name}.crq_scores", "crq_logits", scores, run, "step.crq_top8_scores", "step.crq_top8_score_ids")
    for index in range(len(steps)):
        for label, full in (("logits", logits), ("scores", scores)):
            stored = run.get(f"crq_{label}_step{index}")
            if stored is not None:
                compare.close(f"{name}.crq_{label}", "crq_logits", full[index], stored)


def _compare_run(
    compare: Comparison, processor: Processor, prompt: Prompt, run: Record, stored: Tensors, steps: list[ReferenceStep]
) -> None:
    name = run["name"]
    codes = [code for step in steps for code in step.group]
    text = [step.appended for step in steps]
    compare.equal(f"{name}.text_tokens", text, run["text_tokens"])
    compare.equal(f"{name}.text_tokens_streamed", [step.streamed for step in steps], run["text_tokens_streamed"])
    compare.equal(f"{name}.speech_tokens", codes, run["speech_tokens"])
    compare.equal(f"{name}.sequences", [*prompt.ids, *text], stored["sequences"][0].tolist())
    decoded = processor.tokenizer.decode(run["text_tokens_streamed"])
    compare.equal(f"{name}.text_decoded_streamed", decoded, run["text_decoded_streamed"])
    if len(steps) == run["steps"]:
        _compare_steps(compare, name, stored, steps)


def _compare_case(golden: Path, model: FunAudioChat, processor: Processor, case: Record) -> CaseResult:
    compare = Comparison()
    tensors = _tensors(golden / case.get("tensors", f"cases/{case['name']}.safetensors"))
    text = processor.render([(role, content) for role, content in case["conversation"]])
    compare.equal("prompt_text", text, case["prompt_text"])
    prompt = processor.prompt(text, read_audio(golden, case))
    _compare_inputs(compare, golden, case, tensors, prompt)
    _compare_encoders(compare, model, tensors, prompt)
    for index, run in enumerate(case["runs"]):
        steps = list(generate(model, prompt, run_settings(run)))
        prefix = f"run.{run['name']}."
        stored = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if index == 0:
            _compare_prefill(compare, tensors, steps[0])
        _compare_run(compare, processor, prompt, run, stored, steps)
    return CaseResult(case["name"], compare.differences, tuple(compare.problems))


def check(golden: Path, *, device: str = "cpu") -> Iterator[CaseResult]:
    """Every case of a golden directory in float32, one at a time; see its README for what is recorded."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    index = json.loads((golden / "cases.json").read_text(encoding="utf-8"))
    model, config = load_model(golden / "checkpoint", device=device)
    processors: dict[int | None, Processor] = {}
    for case in index["cases"]:
        chunk_length = case.get("feature_extractor_chunk_length")
        if chunk_length not in processors:
            processors[chunk_length] = Processor(golden / "checkpoint", config, chunk_length_s=chunk_length)
        try:
            yield _compare_case(golden, model, processors[chunk_length], case)
        except (
            ValueError,
            IndexError,
            RuntimeError,
        ) as error:  # this code refuses what the original took: a failed case
            yield CaseResult(case["name"], problems=(f"raised {type(error).__name__}: {error}",))
