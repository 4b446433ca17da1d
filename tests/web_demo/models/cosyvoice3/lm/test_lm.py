"""The body of the speech LM against `transformers`' Qwen2, with several key/value heads."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model

from web_demo.models.cosyvoice3.config import LmConfig
from web_demo.models.cosyvoice3.lm.lm import Place, SpeechLm, lm_weights

pytestmark = pytest.mark.models

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "vocab_size": 100,
}


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    reference = Qwen2Model(Qwen2Config(**SIZES)).eval()
    lm = SpeechLm(LmConfig(**SIZES, speech_token_size=50, top_p=0.8, top_k=25, win_size=10, tau_r=0.1))
    raw = {f"llm.model.model.{name}": value for name, value in reference.state_dict().items()}
    raw |= {f"{name}.weight": torch.randn(250, 48) for name in ("llm_decoder", "speech_embedding")}
    lm.load_state_dict(lm_weights(raw, 3))
    return lm.eval().requires_grad_(False), reference


def expected(pair, x):
    lm, reference = pair
    with torch.no_grad():
        return lm.llm_decoder(reference(inputs_embeds=x).last_hidden_state[:, -1]).log_softmax(-1)


def test_reading_a_text_at_once_and_step_by_step_gives_what_transformers_gives(pair):
    lm, _ = pair
    x = torch.randn(1, 9, 48)
    cache = lm.new_cache(2, 16)
    slot = torch.tensor([1])
    read = lm(x[:, :6], Place(slot, torch.arange(6)[None], 6), cache)
    torch.testing.assert_close(read, expected(pair, x[:, :6]), rtol=0, atol=1e-4)
    for position in range(6, 9):
        step = lm(x[:, position : position + 1], Place(slot, torch.tensor([[position]]), 16), cache)
        torch.testing.assert_close(step, expected(pair, x[:, : position + 1]), rtol=0, atol=1e-4)


def test_rows_at_different_positions_share_a_step(pair):
    lm, _ = pair
    texts = [torch.randn(1, length, 48) for length in (4, 11)]
    cache = lm.new_cache(2, 16)
    for slot, text in enumerate(texts):
        lm(text[:, :-1], Place(torch.tensor([slot]), torch.arange(text.shape[1] - 1)[None], text.shape[1] - 1), cache)
    last = torch.cat([text[:, -1:] for text in texts])
    together = lm(last, Place(torch.tensor([0, 1]), torch.tensor([[3], [10]]), 16), cache)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row : row + 1], expected(pair, text), rtol=0, atol=1e-4)
