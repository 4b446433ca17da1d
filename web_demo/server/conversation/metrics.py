"""What the S2S service tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCIES_S = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class S2sMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = Gauge("s2s_sessions", "Open sessions", registry=registry)
        self.sessions_refused = Counter("s2s_sessions_refused", "Sessions refused: full", registry=registry)
        self.turns = Counter("s2s_turns", "Turns, by how their answer ended", ["outcome"], registry=registry)
        self.first_audio = Histogram(
            "s2s_first_audio_seconds", "End of turn to the first audio sent", buckets=LATENCIES_S, registry=registry
        )
        self.stage = Histogram(
            "s2s_stage_seconds",
            "Where a turn's time goes: heard (recogniser), text (first text after that), sound (first sound of a window); of the "
            "first sound: codes (first speech codes, after heard), window (until they are enough), first (until there is "
            "sound of them), sent (until it is sent)",
            ["stage"],
            buckets=LATENCIES_S,
            registry=registry,
        )
        self.lateness = Histogram(
            "s2s_frame_lateness_seconds",
            "How long after its time an audio frame was sent",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
            registry=registry,
        )
        self.audio_in = Counter("s2s_audio_in_seconds", "Seconds of user audio decoded", registry=registry)
        self.audio_out = Counter("s2s_audio_out_seconds", "Seconds of answer audio sent", registry=registry)
        self.text_failures = Counter(
            "s2s_text_failures",
            "Stretches of answers spoken as written, because a rule for them raised",
            registry=registry,
        )
        self.problems = Counter("s2s_problems", "Error messages sent to clients", registry=registry)
        self.pauses = Counter(
            "s2s_pauses",
            "Pauses of users in hands-free turns by meaning, by what decided how long they may last",
            ["by"],
            registry=registry,
        )
        self.detokenizer_restarts = Counter("s2s_detokenizer_restarts", "Deaths of the child", registry=registry)
