"""The backend that speaks codes, at its agreed address; the code is web_demo/engines/s2s/funaudiochat/detokenizer.py."""

from web_demo.engines.s2s.funaudiochat.detokenizer import CosyVoiceBackend, create

__all__ = ["CosyVoiceBackend", "create"]
