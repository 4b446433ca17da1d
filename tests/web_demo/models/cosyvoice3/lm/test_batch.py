"""Many utterances in one decoding step, each as if it were alone."""

import copy

import numpy as np
import pytest
import torch

from web_demo.models.cosyvoice3.lm import ras
from web_demo.models.cosyvoice3.lm.batch import LmBatch
from web_demo.models.cosyvoice3.lm.generate import END_OF_PROMPT, LmInput, SilenceFilter, generate
from web_demo.models.cosyvoice3.lm.lm import load_lm

pytestmark = pytest.mark.models

INPUTS = (
    LmInput((71, 68, 75), (56, END_OF_PROMPT)),
    LmInput((1, 2, 3, 4, 5, 6), (9, 9, 9, END_OF_PROMPT), (100, 200, 300)),
    LmInput((END_OF_PROMPT, 8, 8, 8)),
)


def together(lm, chosen):
    batch = LmBatch(lm, slots=4, capacity=600, batches=(1, 2, 4))
    utterances = [batch.add(INPUTS[index], seed=index) for index in chosen]
    while running := [utterance for utterance in utterances if not utterance.ended]:
        batch.step(running)
    return [utterance.tokens for utterance in utterances]


def test_an_utterance_is_the_same_in_any_company(lm):
    alone = [together(lm, [index])[0] for index in range(3)]
    assert together(lm, [0, 1, 2]) == alone
    assert together(lm, [2, 0]) == [alone[2], alone[0]]


def test_a_utterance_that_joins_late_changes_nobody(lm):
    alone = [together(lm, [index])[0] for index in range(2)]
    batch = LmBatch(lm, slots=2, capacity=600, batches=(1, 2))
    first = batch.add(INPUTS[0], seed=0)
    for _ in range(7):
        batch.step([first])
    second = batch.add(INPUTS[1], seed=1)
    while running := [utterance for utterance in (first, second) if not utterance.ended]:
        batch.step(running)
    assert [first.tokens, second.tokens] == alone


def test_the_batch_makes_the_tokens_of_the_plain_path(lm):
    for index, given in enumerate(INPUTS):
        uniforms = np.random.default_rng(index)

        def choose(logp, tokens, uniforms=uniforms):
            recent = torch.full((1, 10), -1)
            recent[0, : len(tokens[-10:])] = torch.tensor(tokens[-10:])
            return int(ras.draw_batch(logp[None], recent, torch.from_numpy(uniforms.random((1, 2))), lm.config))

        assert list(generate(lm, given, choose)) == together(lm, [index])[0]


def test_the_fused_kernels_make_the_tokens_of_the_plain_ones(lm, monkeypatch):
    """On a GPU where there is one, else in Triton's interpreter."""
    fused = pytest.importorskip("web_demo.models.runtime.kernels.fused", reason="triton: requirements-dev.txt")
    lm = copy.deepcopy(lm).to("cuda" if torch.cuda.is_available() else "cpu")
    plain = first_tokens(lm)
    monkeypatch.setattr("web_demo.models.cosyvoice3.lm.batch.best_kernels", lambda device: fused.TritonKernels())
    assert first_tokens(lm) == plain


def first_tokens(lm):
    """Of two in a step and of one alone, from the graph's own padding on."""
    batch = LmBatch(lm, slots=4, capacity=600, batches=(1, 4))
    utterances = [batch.add(given, seed=7) for given in INPUTS[:2]]
    for running in (utterances, utterances, utterances, utterances[:1], utterances[:1]):
        batch.step(running)
    return [utterance.tokens for utterance in utterances]


def test_many_inputs_are_read_in_few_passes_of_bounded_size(lm, monkeypatch):
    monkeypatch.setattr("web_demo.models.cosyvoice3.lm.batch._READ_POSITIONS", 26)
    passes = []
    forward = lm.forward
    monkeypatch.setattr(lm, "forward", lambda x, *rest, **more: passes.append(x.shape[:2]) or forward(x, *rest, **more))
    batch = LmBatch(lm, slots=4, capacity=600, batches=(1, 2, 4))
    batch.step([batch.add(INPUTS[index], seed=index) for index in (0, 1, 2, 1)])
    assert passes == [(2, 7), (1, 15), (1, 15)]


def test_a_slot_used_again_remembers_nothing(lm):
    batch = LmBatch(lm, slots=1, capacity=600, batches=(1,))
    results = []
    for index in (0, 1, 0):
        utterance = batch.add(INPUTS[index], seed=index)
        while not utterance.ended:
            batch.step([utterance])
        batch.remove(utterance)
        results.append(utterance.tokens)
    assert results[0] == results[2]


def test_no_end_comes_before_the_shortest_length(model_dir):
    """With a head that knows little else than the stop ids, of which there are two hundred."""
    eager = load_lm(model_dir)
    eager.llm_decoder.weight[:6561] *= 1e-3
    eager.llm_decoder.weight[6561:] *= 20
    tokens = together(eager, [1])[0]
    assert 2 * 6 <= len(tokens) < 20 * 6
    assert max(tokens) < 6561


def test_an_input_without_room_to_speak_is_refused(lm):
    batch = LmBatch(lm, slots=1, capacity=20, batches=(1,))
    with pytest.raises(ValueError, match="there is room for 20"):
        batch.add(INPUTS[1], seed=0)
    assert batch.free == 1


def test_a_text_without_the_marker_is_refused_at_once():
    with pytest.raises(ValueError, match="endofprompt"):
        LmInput((1, 2, 3))


def test_long_silences_are_cut_to_five_tokens():
    silence = SilenceFilter()
    kept = [token for token in (7, *[1, 2] * 5, 9, 1, 2) if silence.keep(token)]
    assert kept == [7, 1, 2, 1, 2, 1, 9, 1, 2]
