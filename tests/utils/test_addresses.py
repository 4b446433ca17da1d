"""Modules that others find at an agreed address, wherever their code is."""

import pytest

import utils.cosyvoice_tokenizer
from web_demo.audio import speech_tokens


def test_the_tokenizer_is_found_at_its_address():
    assert utils.cosyvoice_tokenizer.SpeechTokenizer is speech_tokens.SpeechTokenizer


@pytest.mark.models
def test_the_detokenizer_is_found_at_its_address():
    pytest.importorskip("torch")
    import utils.cosyvoice_detokenizer
    from web_demo.engines.s2s.funaudiochat import detokenizer

    assert utils.cosyvoice_detokenizer.create is detokenizer.create
