"""The batched engine against the plain reference path, token for token."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from web_demo.models.funaudiochat.engine.engine import Engine
from web_demo.models.funaudiochat.engine.scheduler import Limits, TooLong
from web_demo.models.funaudiochat.engine.sequence import EndReason, Frame, Request
from web_demo.models.funaudiochat.engine.state import uniform_table
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.parity import read_audio, run_settings
from web_demo.models.funaudiochat.processor import AudioInput, Processor, Prompt, PromptAudio
from web_demo.models.funaudiochat.reference import generate, inverse_cumulative
from web_demo.models.funaudiochat.settings import GenerationSettings
from web_demo.models.runtime.float8 import FORMAT
from web_demo.models.runtime.graphs import GraphCache

pytestmark = pytest.mark.models

Answer = tuple[list[int], list[tuple[int, ...]]]  # streamed text ids, groups of codes

LIMITS = Limits(slots=8, pages=120, page_tokens=16, max_context=512, max_new_tokens=64, prefill_tokens=24)
ROOMY = replace(LIMITS, prefill_tokens=512)  # several prompts in one pass
GREEDY = GenerationSettings(max_new_tokens=16, do_sample=False)
SAMPLED = GenerationSettings(max_new_tokens=16, seed=7)


def spoken(processor: Processor, seed: int, seconds: float = 1.5, earlier: Sequence[tuple[str, str]] = ()) -> Prompt:
    """A prompt whose last user turn is noise."""
    sound = (np.random.default_rng(seed).standard_normal(int(seconds * 16_000)) * 0.1).astype(np.float32)
    messages = [("system", "You talk."), *earlier, ("user", processor.audio_template)]
    return processor.prompt(processor.render(messages), [AudioInput(sound, int(seconds * 25))])


def alone(model: FunAudioChat, prompt: Prompt, settings: GenerationSettings) -> Answer:
    choose = None
    if settings.do_sample:
        table = uniform_table(settings.seed, settings.max_new_tokens, model.config.audio.group_size + 1)
        choose = inverse_cumulative(table)
    steps = list(generate(model, prompt, settings, choose))
    return [step.streamed for step in steps], [step.group for step in steps if step.group]


def collect(frames: Sequence[Frame], answers: dict[str, Answer], ends: dict[str, Frame]) -> None:
    for frame in frames:
        if frame.end is not EndReason.FAILED:
            answers.setdefault(frame.request_id, ([], []))[0].append(frame.text_id)
            if frame.codes:
                answers[frame.request_id][1].append(frame.codes)
        if frame.end is not None:
            ends[frame.request_id] = frame


def together(engine: Engine, requests: Mapping[int, Sequence[Request]]) -> tuple[dict[str, Answer], dict[str, Frame]]:
    """Submit requests at given iterations and run until all have ended."""
    answers: dict[str, Answer] = {}
    ends: dict[str, Frame] = {}
    iteration, last = 0, max(requests)
    while engine.busy or iteration <= last:
        for request in requests.get(iteration, ()):
            engine.submit(request)
        collect(engine.step(), answers, ends)
        iteration += 1
    return answers, ends


def test_recorded_runs_come_out_of_one_batch_as_recorded(
    golden: Path, model: FunAudioChat, processor: Processor
) -> None:
    engine = Engine(model, LIMITS)
    recorded = {}
    for case in json.loads((golden / "cases.json").read_text(encoding="utf-8"))["cases"]:
        prompt = processor.prompt(case["prompt_text"], read_audio(golden, case))
        for run in case["runs"]:
            if not run["generate_kwargs"]["do_sample"]:
                recorded[f"{case['name']}/{run['name']}"] = run
                engine.submit(Request(f"{case['name']}/{run['name']}", prompt, run_settings(run)))
    answers, ends = together(engine, {0: []})
    assert len(recorded) == 5
    for name, run in recorded.items():
        text, groups = answers[name]
        assert text == run["text_tokens_streamed"], name
        assert [code for group in groups for code in group] == run["speech_tokens"], name
        assert (ends[name].end is EndReason.EOS) == run["ended_by_text_eos"], name


def test_rows_of_a_batch_that_come_and_go_equal_their_solo_runs(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(model, LIMITS)
    settings = [
        GREEDY,
        SAMPLED,
        replace(SAMPLED, seed=8, temperature=1.2, top_p=1.0, top_k=20),
        replace(SAMPLED, speech=False, force_audio_bos=False),
        replace(GREEDY, text_greedy=True, repetition_penalty=1.0),
        replace(SAMPLED, seed=9, text_greedy=True),
    ]
    requests = [Request(f"r{index}", spoken(processor, index, 0.5 + index), one) for index, one in enumerate(settings)]
    answers, _ = together(engine, {0: requests[:2], 3: requests[2:4], 5: requests[4:]})
    for request in requests:
        assert answers[request.request_id] == alone(model, request.prompt, request.settings), request.request_id
    pool = engine.scheduler.pool
    assert pool.free == pool.total


def test_the_answer_is_the_same_with_and_without_the_kept_prompt(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(model, LIMITS)
    first = spoken(processor, 1, 3.0)
    together(engine, {0: [Request("first", first, GREEDY, "talk")]})
    messages = [("system", "You talk."), ("user", processor.audio_template), ("assistant", "Hello.")]
    text = processor.render([*messages, ("user", processor.audio_template)])
    second = processor.prompt(text, [*first.audios, *spoken(processor, 2).audios])
    with patch.object(engine.runner.prompts, "_encode_chunks", wraps=engine.runner.prompts._encode_chunks) as encoder:
        answers, _ = together(engine, {0: [Request("second", second, SAMPLED, "talk")]})
        encoded = [audio for call in encoder.call_args_list for audio in call.args[0]]
        assert len(encoded) == 1  # the first audio lies in the kept part and is not encoded again
    assert answers["second"] == alone(model, second, SAMPLED)
    engine.forget("talk")
    assert engine.scheduler.pool.free == engine.scheduler.pool.total


def test_another_audio_of_the_same_length_is_not_taken_for_the_kept_one(
    model: FunAudioChat, processor: Processor
) -> None:
    engine = Engine(model, LIMITS)
    together(engine, {0: [Request("first", spoken(processor, 1), GREEDY, "talk")]})
    other = spoken(processor, 2)
    answers, _ = together(engine, {0: [Request("second", other, GREEDY, "talk")]})
    assert answers["second"] == alone(model, other, GREEDY)


def test_an_abort_between_frames_frees_the_slot_and_leaves_the_others_alone(
    model: FunAudioChat, processor: Processor
) -> None:
    engine = Engine(model, LIMITS)
    stays, goes = (Request(name, spoken(processor, seed), GREEDY) for name, seed in (("stays", 1), ("goes", 2)))
    engine.submit(stays)
    engine.submit(goes)
    answers: dict[str, Answer] = {}
    ends: dict[str, Frame] = {}
    for _ in range(6):
        collect(engine.step(), answers, ends)
    assert engine.abort("goes")
    assert not engine.abort("goes")
    assert len(engine.scheduler.active) == 1
    heard = len(answers["goes"][0])
    while engine.busy:
        collect(engine.step(), answers, ends)
    assert len(answers["goes"][0]) == heard
    assert answers["stays"] == alone(model, stays.prompt, GREEDY)


@pytest.mark.parametrize("cache", [None, FORMAT])
def test_a_nan_in_one_row_ends_that_turn_alone_and_leaves_no_trace(
    model: FunAudioChat, processor: Processor, cache: torch.dtype | None
) -> None:
    engine = Engine(model, LIMITS, speech_cache=cache)

    def by_itself(request: Request) -> Answer:
        return together(Engine(model, LIMITS, speech_cache=cache), {0: [request]})[0][request.request_id]

    healthy, sick = (Request(name, spoken(processor, seed), GREEDY) for name, seed in (("healthy", 1), ("sick", 2)))
    poisoned = replace(sick.prompt.audios[0], features=torch.full_like(sick.prompt.audios[0].features, torch.nan))
    sick = replace(sick, prompt=replace(sick.prompt, audios=(poisoned,)))
    answers, ends = together(engine, {0: [sick, healthy]})
    assert ends["sick"].end is EndReason.FAILED
    assert "not finite" in ends["sick"].error
    assert answers["healthy"] == by_itself(healthy)
    after = Request("after", sick.prompt, GREEDY)
    after = replace(after, prompt=spoken(processor, 2))
    answers, _ = together(engine, {0: [after]})  # takes the same slot and pages
    assert answers["after"] == by_itself(after)


def test_running_out_of_memory_in_a_prefill_ends_that_turn_alone(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(model, LIMITS)
    first, second = (Request(name, spoken(processor, seed), GREEDY) for name, seed in (("first", 1), ("second", 2)))
    encode = engine.runner.prompts._encode_chunks
    sizes = []

    def short_of_memory(sounds: Sequence[tuple[dict[int, torch.Tensor], int, PromptAudio]]) -> None:
        sizes.append(len(sounds))
        if any(audio is second.prompt.audios[0] for _, _, audio in sounds):
            raise torch.OutOfMemoryError("CUDA out of memory")
        encode(sounds)

    short = patch.object(engine.runner.prompts, "_encode_chunks", short_of_memory)
    with short, patch.object(engine.scheduler, "limits", ROOMY):
        answers, ends = together(engine, {0: [first, second]})
    assert ends["second"].end is EndReason.FAILED
    assert answers["first"] == alone(model, first.prompt, GREEDY)
    assert engine.scheduler.pool.free == engine.scheduler.pool.total
    assert sizes == [2, 1, 1]  # both at once, then one by one


def test_running_out_of_memory_in_a_frame_ends_the_newest_turn(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(model, LIMITS)
    requests = [Request(name, spoken(processor, seed), GREEDY) for name, seed in (("first", 1), ("second", 2))]
    decode = engine.runner.decode

    def short_of_memory(turns: Sequence[object]) -> object:
        if len(turns) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(turns)

    with patch.object(engine.runner, "decode", short_of_memory):
        answers, ends = together(engine, {0: requests})
    assert ends["second"].end is EndReason.FAILED
    assert answers["first"] == alone(model, requests[0].prompt, GREEDY)


def test_bad_requests_are_refused_before_they_cost_anything(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(model, LIMITS)
    prompt = spoken(processor, 1)
    with pytest.raises(ValueError, match="end in a text token"):
        engine.submit(Request("r", Prompt((model.config.audio_id,), prompt.audios), GREEDY))
    with pytest.raises(ValueError, match="audio slots"):
        engine.submit(Request("r", Prompt(prompt.ids), GREEDY))
    with pytest.raises(ValueError, match="bad words"):
        engine.submit(Request("r", prompt, replace(GREEDY, bad_words=((1, 2, 3, 4, 5),))))
    with pytest.raises(TooLong):
        engine.submit(Request("r", prompt, replace(GREEDY, max_new_tokens=65)))
    assert not engine.busy


def test_small_pages_and_chunks_give_the_same_tokens(model: FunAudioChat, processor: Processor) -> None:
    engine = Engine(
        model, Limits(slots=3, pages=400, page_tokens=3, max_context=200, max_new_tokens=64, prefill_tokens=7)
    )
    requests = [Request(f"r{seed}", spoken(processor, seed), replace(SAMPLED, seed=seed)) for seed in range(5)]
    answers, _ = together(engine, {0: requests})  # five turns for three slots
    for request in requests:
        assert answers[request.request_id] == alone(model, request.prompt, request.settings)


def test_prompts_prefilled_in_one_pass_give_the_same_tokens(model: FunAudioChat, processor: Processor) -> None:
    """Beside each other: one that speaks, one with an earlier turn, one in text alone, and a kept prompt with its rest."""
    engine = Engine(model, ROOMY)
    earlier = [("user", "Hi."), ("assistant", "Hello.")]
    together(engine, {0: [Request("before", spoken(processor, 1), GREEDY, "talk")]})
    requests = [
        Request("speaks", spoken(processor, 2), GREEDY),
        Request("longer", spoken(processor, 3, 2.3, earlier), SAMPLED),
        Request("text", spoken(processor, 4), replace(SAMPLED, speech=False, force_audio_bos=False)),
        Request("again", spoken(processor, 1, 1.9), GREEDY, "talk"),
    ]
    with patch.object(engine.runner, "prefill", wraps=engine.runner.prefill) as prefill:
        answers, _ = together(engine, {0: requests})
    assert [len(call.args[0]) for call in prefill.call_args_list] == [4]
    for request in requests:
        assert answers[request.request_id] == alone(model, request.prompt, request.settings)


def test_engines_on_one_model_share_its_weights(model: FunAudioChat) -> None:
    one, other = Engine(model, LIMITS), Engine(model, LIMITS)
    pairs = zip(
        one.runner.backbone.layers + one.runner.crq.layers,
        other.runner.backbone.layers + other.runner.crq.layers,
        strict=True,
    )
    for first, second in pairs:
        assert first.qkv.data_ptr() == second.qkv.data_ptr()
        assert first.gate_up.data_ptr() == second.gate_up.data_ptr()
    layer = model.language_model.model.layers[0]
    assert layer.self_attn.q_proj.weight.data_ptr() == one.runner.backbone.layers[0].qkv.data_ptr()


class Asked(GraphCache):
    """Captures nothing and remembers what was to be captured, and what was run."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.enabled = True
        self.warm: set[Hashable] = set()
        self.used: set[Hashable] = set()

    def capture(self, key: Hashable, function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]) -> None:
        self.warm.add(key)
        function(*inputs)

    def run(
        self, key: Hashable, function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        self.used.add(key)
        return function(*inputs)


@pytest.mark.long
def test_a_warm_engine_has_every_graph_that_it_asks_for(model: FunAudioChat, processor: Processor) -> None:
    """And what the padding to captured sizes adds changes no token."""
    engine = Engine(model, replace(LIMITS, slots=5, prefill_turns=5, prefill_tokens=300))
    asked = engine.runner.graphs = engine.runner.prompts.graphs = Asked()
    engine.runner.prompts.captures = True
    engine.runner._pages_matter = False  # as on a GPU, where a frame does not depend on the length of contexts
    engine.runner.warm_up()
    warm = set(asked.warm)
    silent = replace(GREEDY, speech=False, force_audio_bos=False)
    for kind in (GREEDY, silent):
        requests = [Request(f"r{seed}", spoken(processor, seed, 0.5 + seed), kind) for seed in range(5)]
        answers, _ = together(engine, {0: requests[:1], 3: requests[1:2], 5: requests[2:]})
        for request in requests:
            assert answers[request.request_id] == alone(model, request.prompt, request.settings)
    assert asked.warm == warm
    assert asked.used <= warm
    assert {key[0] for key in asked.used if isinstance(key, tuple)} == {"frame", "prefill", "sound"}


@pytest.mark.parametrize("samples", [[1, 200], [320], [400, 16_000, 1], [32_000, 32_001], [31_999, 70_000]])
def test_audios_in_chunks_are_those_of_the_encoder(
    model: FunAudioChat, samples: list[int], processor: Processor
) -> None:
    """Ends inside a chunk, on its border, one position after it, and sounds of a single position."""
    rng = np.random.default_rng(3)
    sounds = [AudioInput(rng.standard_normal(count).astype(np.float32), 1 + count * 25 // 16_000) for count in samples]
    text = processor.render([("user", processor.audio_template * len(sounds))])
    prompt = processor.prompt(text, sounds)
    prompts = Engine(model, LIMITS).runner.prompts
    found: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        prompts._encode_chunks([(found, index, audio) for index, audio in enumerate(prompt.audios)])
        wanted = model.embed_audios([(audio.codes, audio.features) for audio in prompt.audios])
    for index, vectors in enumerate(wanted):
        torch.testing.assert_close(found[index], vectors, atol=1e-5, rtol=1e-4)
