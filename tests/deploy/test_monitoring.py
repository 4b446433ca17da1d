"""The dashboard, the alerts and the scrape file speak of metrics and ports that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Metric

from scripts.operations.layouts import scheme_b
from scripts.operations.services import ASR, S2S, TTS
from web_demo import errors
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.tts.metrics import TtsMetrics

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
METRIC = re.compile(r"\b(?:s2s|asr|tts|service)_[a-z_]+\b")
LABELS = re.compile(r"(?:by|without) \(([^)]*)\)|[{,]\s*(\w+)\s*=")
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")


def metrics_of_the_services() -> list[Metric]:
    """Of all three; `service_errors` is counted by every service's application."""
    registry = CollectorRegistry()
    for metrics in (S2sMetrics, AsrMetrics, TtsMetrics):
        metrics(registry)
    Counter("service_errors", "as in web_demo/server/common/service.py", ["code"], registry=registry)
    return list(registry.collect())


def known() -> set[str]:
    """The names of all samples."""
    names = set()
    for metric in metrics_of_the_services():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def expressions() -> list[str]:
    """Of the dashboard, as Prometheus gets them."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$instance", ".+") for text in found]


def rules() -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    return found


def checked(*words: str) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_dashboard_exists() -> None:
    used = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert used <= known()
    assert {"s2s_sessions", "s2s_first_audio_seconds_bucket", "service_errors_total"} <= used


def test_panels_do_not_lie_on_each_other() -> None:
    panels = json.loads((MONITORING / "grafana-dashboard.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})


def test_every_metric_of_the_alerts_exists() -> None:
    assert {name for rule in rules() for name in METRIC.findall(rule["expr"])} <= known()


def test_every_label_that_is_asked_for_exists() -> None:
    server = ROOT / "web_demo" / "server"
    source = "".join(path.read_text() for path in [*server.rglob("metrics.py"), server / "common" / "errors.py"])
    of_services = set(re.findall(r',\s+\["(\w+)"\],', source))
    assert {"code", "stage", "outcome"} <= of_services
    asked = {
        label.strip()
        for text in [*expressions(), *(rule["expr"] for rule in rules())]
        for group in LABELS.findall(text)
        for label in ",".join(group).split(",")
        if label.strip()
    }
    assert asked <= of_services | {"le", "instance", "job", "service"}


def test_the_errors_that_raise_an_alarm_are_errors_of_the_services() -> None:
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    (alarm,) = [rule["expr"] for rule in rules() if rule["alert"] == "Errors"]
    (asked,) = re.findall(r'code=~"([^"]*)"', alarm)
    assert set(asked.split("|")) <= codes


@promtool
def test_prometheus_takes_the_configuration_and_every_alert_fires_for_what_it_is_for() -> None:
    checked("check", "config", str(MONITORING / "prometheus.yml"))
    tests = Path(__file__).with_name("alerts.test.yml")
    tried = {
        case["alertname"] for group in yaml.safe_load(tests.read_text())["tests"] for case in group["alert_rule_test"]
    }
    assert tried == {rule["alert"] for rule in rules()}
    checked("test", "rules", str(tests))


@promtool
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    asked = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    checked("check", "rules", str(path))


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
