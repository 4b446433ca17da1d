"""What the ASR service tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class AsrMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Gauge("asr_requests", "Requests in the house, waiting ones included", registry=registry)
        self.refused = Counter("asr_requests_refused", "Requests refused: the queue was full", registry=registry)
        self.live = Gauge("asr_live_streams", "Open live transcriptions", registry=registry)
        self.audio_seconds = Counter("asr_audio_seconds", "Seconds of audio recognised", registry=registry)
        self.engine_seconds = Histogram(
            "asr_engine_seconds", "Time in the engine of one piece of audio", buckets=SECONDS, registry=registry
        )
        self.request_seconds = Histogram(
            "asr_request_seconds",
            "Admission to answer of one request, its upload not counted",
            buckets=SECONDS,
            registry=registry,
        )
