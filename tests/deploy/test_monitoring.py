"""The dashboard, the alerts and the scrape file speak of metrics and ports that exist."""

import json
import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry, Counter

from scripts.operations.layouts import scheme_b
from scripts.operations.services import ASR, S2S, TTS
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.tts.metrics import TtsMetrics

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
METRIC = re.compile(r"\b(?:s2s|asr|tts|service)_[a-z_]+\b")


def known() -> set[str]:
    """The names of all samples of the three services; `service_errors` is counted by every service's application."""
    registry = CollectorRegistry()
    for metrics in (S2sMetrics, AsrMetrics, TtsMetrics):
        metrics(registry)
    Counter("service_errors", "as in web_demo/server/common/service.py", ["code"], registry=registry)
    names = set()
    for metric in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def test_every_metric_of_the_dashboard_exists() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for expression in expressions for name in METRIC.findall(expression)}
    assert used <= known()
    assert {"s2s_sessions", "s2s_first_audio_seconds_bucket", "service_errors_total"} <= used


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads((MONITORING / "grafana-dashboard.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})


def test_every_metric_of_the_alerts_exists() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    assert {name for rule in rules for name in METRIC.findall(rule["expr"])} <= known()


def test_the_errors_counter_of_the_services_is_the_one_that_is_watched() -> None:
    source = (Path(__file__).resolve().parents[2] / "web_demo" / "server" / "common" / "errors.py").read_text()
    assert 'Counter("service_errors"' in source


def test_every_service_is_scraped_at_its_port() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    targets = {
        entry["labels"]["service"]: entry["targets"][0].rpartition(":")[2]
        for job in jobs
        for entry in job["static_configs"]
    }
    ports = {"s2s": S2S.port, "asr": ASR.port, "tts": TTS.port, "whisper": scheme_b.WHISPER_PORT}
    assert targets == {name: str(port) for name, port in ports.items()}
