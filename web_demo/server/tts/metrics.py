"""What the TTS service tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCIES_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class TtsMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter("tts_requests", "Requests, by how they ended", ["outcome"], registry=registry)
        self.under_way = Gauge("tts_requests_under_way", "Requests admitted and not ended", registry=registry)
        self.streams = Gauge("tts_text_streams", "Streams of text that are open", registry=registry)
        self.first_audio = Histogram(
            "tts_first_audio_seconds", "Admission to the first sound", buckets=LATENCIES_S, registry=registry
        )
        self.queued = Histogram(
            "tts_queue_seconds", "Wait of one piece of text for its turn", buckets=LATENCIES_S, registry=registry
        )
        self.characters = Counter("tts_characters", "Characters of text admitted", registry=registry)
        self.text_failures = Counter(
            "tts_text_failures", "Stretches of text spoken as written, because their rules raised", registry=registry
        )
        self.silent = Counter("tts_silent_pieces", "Pieces of text of which the voice made no sound", registry=registry)
        self.audio_out = Counter("tts_audio_out_seconds", "Seconds of sound made", registry=registry)
