from pathlib import Path

import pytest

from scripts.operations import services
from scripts.operations.services import ASR, S2S, TTS, Options, Service, UsageError

LOGS = Path("logs")


def line(service: Service, options: Options, **environment: str) -> str:
    return " ".join(services.launch(service, options, environment, LOGS, python="python3").command)


def test_without_choices_the_services_decide_on_their_devices() -> None:
    assert line(S2S, Options()) == "python3 -m web_demo.server.server --host 127.0.0.1 --port 8002"
    assert line(ASR, Options()) == "python3 -m web_demo.server.asr_server --host 127.0.0.1 --port 8003"


def test_positional_choices_reach_the_service_that_they_are_for() -> None:
    options = Options(tts_gpu=1, asr_device="cuda:1", with_tts=True, use_vllm=True)
    assert line(S2S, options).endswith("--port 8002 --tts-gpu 1")
    assert line(ASR, options).endswith("--port 8003 --device cuda:1")
    assert line(TTS, options).endswith("--port 8004 --device cuda:1 --use-vllm")


def test_ports_and_address_come_from_the_environment() -> None:
    launch = services.launch(TTS, Options(), {"HOST": "0.0.0.0", "TTS_PORT": "9004"}, LOGS)
    assert launch.command[-4:] == ("--host", "0.0.0.0", "--port", "9004")
    assert launch.url == "http://127.0.0.1:9004"


def test_an_ipv6_address_makes_a_url_that_can_be_opened() -> None:
    assert services.launch(S2S, Options(), {"HOST": "::"}, LOGS).url == "http://[::1]:8002"


def test_further_options_are_split_as_a_shell_would() -> None:
    launch = services.launch(S2S, Options(), {"S2S_ARGS": "--max-sessions 8 --ssl-cert 'my cert.pem'"}, LOGS)
    assert launch.command[-4:] == ("--max-sessions", "8", "--ssl-cert", "my cert.pem")
    assert launch.url.startswith("https://")


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "8002 "])
def test_a_port_that_is_none_is_refused_by_name(port: str) -> None:
    with pytest.raises(UsageError, match="ASR_PORT must be a port"):
        line(ASR, Options(), ASR_PORT=port)


def test_options_with_an_open_quote_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="S2S_ARGS cannot be read"):
        line(S2S, Options(), S2S_ARGS="--model-path 'x")


def test_vllm_without_the_service_that_uses_it_is_refused() -> None:
    with pytest.raises(UsageError, match="--with-tts"):
        Options(use_vllm=True)


def test_two_services_on_one_port_are_refused() -> None:
    environment = {"S2S_PORT": "9000", "ASR_PORT": "9000"}
    launches = [services.launch(service, Options(), environment, LOGS) for service in (S2S, ASR)]
    with pytest.raises(UsageError, match="s2s and asr were both given port 9000"):
        services.check_ports(launches)


def test_a_service_whose_code_is_not_there_is_not_in_the_list(tmp_path: Path) -> None:
    module = tmp_path / "web_demo" / "server" / "asr_server.py"
    module.parent.mkdir(parents=True)
    module.touch()
    assert services.choose(Options(with_tts=True), tmp_path) == [ASR]


def test_services_that_moved_are_found_by_those_that_use_them() -> None:
    moved = {"ASR_PORT": "9003", "TTS_PORT": "9004"}
    assert line(S2S, Options(), **moved).endswith("--asr-url http://127.0.0.1:9003 --tts-url http://127.0.0.1:9004")
    assert line(TTS, Options(), **moved).endswith("--port 9004 --asr-url http://127.0.0.1:9003")
    assert "-url" not in line(ASR, Options(), **moved)


def test_another_vllm_is_that_of_the_speech_too() -> None:
    options = Options(with_tts=True, use_vllm=True)
    assert line(TTS, options, VLLM="/opt/vllm/bin/vllm").endswith("--use-vllm --vllm-python /opt/vllm/bin/python")
    assert "vllm" not in line(TTS, Options(with_tts=True), VLLM="/opt/vllm/bin/vllm")
