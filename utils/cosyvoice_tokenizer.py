"""Speech to tokens, at its agreed address; the code is web_demo/audio/speech_tokens.py."""

from web_demo.audio.speech_tokens import SpeechTokenizer, cpu_session, log_mel, mel_filters

__all__ = ["SpeechTokenizer", "cpu_session", "log_mel", "mel_filters"]
