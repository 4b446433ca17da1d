"""The planning of modes A to D, with `nvidia-smi` replaced on PATH by a program that prints what it prints for such cards."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.operations import commands, manager
from scripts.operations.layouts import gpus, modes
from scripts.operations.layouts.gpus import Gpu
from scripts.operations.layouts.modes import DoesNotFit
from scripts.operations.services import UsageError

RTX_4090 = "{}, NVIDIA GeForce RTX 4090, 24564, 1\n"
A40 = "{}, NVIDIA A40, 46068, 4\n"
A100 = "{}, NVIDIA A100-SXM4-80GB, 81920, 0\n"
RTX_3080 = "{}, NVIDIA GeForce RTX 3080, 10240, 312\n"
CARDS = {
    "one 4090": RTX_4090.format(0),
    "two 4090": RTX_4090.format(0) + RTX_4090.format(1),
    "4090 and 3080": RTX_3080.format(0) + RTX_4090.format(1),
    "one A40": A40.format(0),
    "one A100": A100.format(0),
    "one 3080": RTX_3080.format(0),
    "busy 4090": "0, NVIDIA GeForce RTX 4090, 24564, 9000\n",
}


def cards(name: str) -> list[Gpu]:
    return gpus.parse(CARDS[name])


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("A", "one 4090"),
        ("B", "two 4090"),
        ("B", "4090 and 3080"),
        ("C", "one A40"),
        ("D", "one A40"),
        ("D", "one A100"),
    ],
)
def test_a_mode_fits_the_cards_it_is_made_for(mode: modes.Mode, name: str) -> None:
    plan = modes.plan(mode, cards(name))
    for gpu in cards(name):
        on_it = [part for part, where in plan.gpu_of.items() if where == gpu]
        assert sum(modes.NEEDS_GIB[part] for part in on_it) <= gpu.free_gib


@pytest.mark.parametrize(
    ("mode", "name", "reason"),
    [
        ("A", "one 3080", "s2s 18 + detokenizer 4 = 22 GiB needed, 9.7 free of 10.0"),
        ("A", "busy 4090", "22 GiB needed, 15.2 free of 24.0"),
        ("B", "one A100", "needs 2 GPUs, there is 1"),
        ("C", "one 4090", "s2s 18 + detokenizer 4 + asr 3 = 25 GiB needed, 24.0 free of 24.0"),
        ("D", "one 4090", "s2s 18 + detokenizer 4 + tts 4 + asr 3 = 29 GiB needed"),
    ],
)
def test_a_mode_that_does_not_fit_is_refused_with_the_arithmetic(mode: modes.Mode, name: str, reason: str) -> None:
    with pytest.raises(DoesNotFit) as refused:
        modes.plan(mode, cards(name))
    assert reason in str(refused.value)


def test_the_big_model_goes_to_the_big_card_whatever_its_number() -> None:
    options = modes.plan("B", cards("4090 and 3080")).options(use_vllm=False)
    assert (options.s2s_device, options.tts_gpu, options.asr_device) == ("cuda:1", 0, "cuda:0")


def test_mode_a_leaves_speech_to_text_out() -> None:
    options = modes.plan("A", cards("one 4090")).options(use_vllm=False)
    assert (options.with_asr, options.with_tts, options.tts_gpu) == (False, False, 0)


def test_mode_d_uses_a_second_card_for_all_but_s2s() -> None:
    options = modes.plan("D", cards("two 4090")).options(use_vllm=True)
    assert (options.s2s_device, options.tts_gpu, options.tts_device, options.asr_device) == (
        "cuda:0",
        1,
        "cuda:1",
        "cuda:1",
    )
    assert options.use_vllm


@pytest.mark.parametrize(
    ("name", "with_tts", "mode"),
    [
        ("one 4090", False, "A"),
        ("two 4090", False, "B"),
        ("one A40", False, "C"),
        ("one A40", True, "D"),
        ("two 4090", True, "D"),
    ],
)
def test_auto_takes_the_fullest_mode_that_fits(name: str, with_tts: bool, mode: str) -> None:
    assert modes.automatic(cards(name), with_tts=with_tts).mode == mode


def test_auto_without_a_gpu_is_the_embedded_engines() -> None:
    options = modes.automatic([], with_tts=True).options(use_vllm=False, with_tts=True)
    assert (options.s2s_device, options.with_asr, options.with_tts) == (None, True, True)


def sizes(text: str) -> list[Gpu]:
    return commands.planned_gpus(text)


@pytest.mark.parametrize(
    ("gpus_of", "with_tts", "mode", "there", "no_room"),
    [
        ("24", True, "A", "s2s detokenizer", "asr tts"),
        ("25", True, "C", "s2s detokenizer asr", "tts"),
        ("24,4", False, "auto", "s2s detokenizer asr", ""),
        ("24,8", True, "auto", "s2s detokenizer asr tts", ""),
        ("18,4,3", False, "auto", "s2s detokenizer asr", ""),
        ("12", True, "auto", "asr tts", "s2s"),
        ("12", False, "auto", "asr", "s2s"),
        ("4", True, "auto", "asr", "s2s tts"),
        ("2,2", True, "embedded", "", "s2s asr tts"),
    ],
)
def test_auto_gives_up_no_more_than_has_no_room(
    gpus_of: str, with_tts: bool, mode: str, there: str, no_room: str
) -> None:
    plan = modes.automatic(sizes(gpus_of), with_tts=with_tts)
    assert (plan.mode, set(plan.gpu_of), plan.no_room) == (mode, set(there.split()), tuple(no_room.split()))
    for gpu in sizes(gpus_of):
        assert sum(modes.NEEDS_GIB[part] for part, where in plan.gpu_of.items() if where == gpu) <= gpu.total_gib


def test_a_service_without_room_is_named_and_s2s_answers_by_its_embedded_engine() -> None:
    plan = modes.automatic(sizes("12"), with_tts=False)
    options = plan.options(use_vllm=False)
    assert (options.embedded, options.asr_device, options.s2s_device) == ({"s2s"}, "cuda:0", None)
    assert plan.left_out() == (
        "speech to speech has no room, it needs 18 + 4 GiB: the embedded engine on the CPU does it",
    )
    (line,) = modes.automatic(sizes("24"), with_tts=False).left_out()
    assert line.endswith("left out; on the CPU: ASR_ARGS='--engine embedded' ./scripts/start_services.sh --only asr")


@pytest.mark.parametrize("words", [["--dtype", "float8"], ["--max-sessions", "4", "--dtype=float8"]])
def test_8_bit_weights_leave_room_for_speech_to_text_on_one_card(words: list[str]) -> None:
    found = modes.automatic(sizes("24"), with_tts=False, needs=modes.needs_of(words))
    assert (found.mode, found.no_room) == ("C", ())
    assert "s2s 14 + detokenizer 4 + asr 3 = 21 GiB needed" in found.arithmetic[0]
    small = modes.automatic(sizes("12"), with_tts=False, needs=modes.needs_of(words))
    assert "it needs 14 + 4 GiB" in small.left_out()[0]


@pytest.mark.parametrize("words", [[], ["--dtype", "bfloat16"], ["--speech-cache", "float8"]])
def test_other_options_need_what_they_did(words: list[str]) -> None:
    assert modes.needs_of(words) is modes.NEEDS_GIB


def test_where_nothing_has_room_all_are_embedded() -> None:
    options = modes.automatic(sizes("2"), with_tts=True).options(use_vllm=False, with_tts=True)
    assert options.embedded == {"s2s", "asr", "tts"}
    assert options.with_asr
    assert options.with_tts


def test_what_runs_already_needs_no_more_room_and_stays_where_it_is() -> None:
    found = [Gpu(0, "small", 8.0, 8.0), Gpu(1, "big", 24.0, 5.0)]  # S2S is on the big one
    plan = modes.plan("B", found, running={"s2s", "detokenizer"})
    assert (plan.device_of("s2s"), plan.device_of("asr")) == ("cuda:1", "cuda:0")
    assert "s2s of it there already" in plan.arithmetic[0]
    with pytest.raises(DoesNotFit):
        modes.plan("B", found)


def test_vllm_gets_its_part_of_the_card_as_a_share() -> None:
    assert modes.memory_share("whisper", cards("one A40")[0]) == 0.14
    assert modes.memory_share("whisper", cards("one 4090")[0]) == 0.26


def test_cuda_visible_devices_hides_and_renumbers() -> None:
    found = gpus.visible(cards("4090 and 3080"), {"CUDA_VISIBLE_DEVICES": "1"})
    assert [(gpu.index, gpu.name) for gpu in found] == [(0, "NVIDIA GeForce RTX 4090")]
    assert gpus.visible(cards("two 4090"), {"CUDA_VISIBLE_DEVICES": ""}) == []
    with pytest.raises(UsageError, match="'GPU-8f3a' is not one of the GPU numbers 0, 1"):
        gpus.visible(cards("two 4090"), {"CUDA_VISIBLE_DEVICES": "GPU-8f3a"})


def test_a_gpu_without_a_memory_size_is_not_planned_with() -> None:
    with pytest.raises(UsageError, match="no memory size"):
        gpus.parse("0, NVIDIA GB10, [N/A], [N/A]\n")


# --- through the command, with nvidia-smi on PATH ---------------------------------------------------------------------


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    def install(output: str, status: int) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return install


def test_a_dry_run_of_a_mode_prints_the_arithmetic_and_the_commands(
    nvidia_smi: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi(CARDS["one A40"], 0)
    monkeypatch.setattr(manager.services.Service, "exists", lambda *_: True)
    assert manager.main(["start", "--mode", "D", "--use-vllm", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "GPU 0 (NVIDIA A40): s2s 18 + detokenizer 4 + tts 4 + asr 3 = 29 GiB needed, 45.0 free of 45.0" in printed
    assert "web_demo.server.server --host 127.0.0.1 --port 8002 --device cuda:0 --tts-gpu 0" in printed
    assert "web_demo.server.tts_server --host 127.0.0.1 --port 8004 --device cuda:0 --use-vllm" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode", "C"], "mode C does not fit: GPU 0"),
        (["--mode", "A", "--with-tts"], "--with-tts goes with --mode D or auto"),
        (["0", "--mode", "A"], "leave TTS_GPU and ASR_DEVICE out"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(
    words: list[str], said: str, nvidia_smi: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi(CARDS["one 4090"], 0)
    assert manager.main(["start", *words, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_a_driver_that_fails_is_quoted(
    nvidia_smi: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9)
    assert manager.main(["start", "--mode", "auto"]) == 2
    assert "couldn't communicate with the NVIDIA driver" in capsys.readouterr().err


def test_sizes_of_gpus_plan_without_any_and_start_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manager, "_start_all", lambda *_: pytest.fail("started"))
    assert manager.main(["start", "--gpus", "24,24"]) == 0
    printed = capsys.readouterr().out
    assert "mode B: GPU 0 (24 GB, planned): s2s 18 GiB needed, 24.0 free of 24.0" in printed
    assert "--device cuda:0 --tts-gpu 1" in printed
    assert "started nothing" in printed
    assert manager.main(["start-vllm", "--gpus", "48"]) == 0
    assert "--gpu-memory-utilization 0.13" in capsys.readouterr().out
    assert manager.main(["start", "--gpus", "24", "--mode", "C"]) == 2
    assert "25 GiB needed, 24.0 free" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "24,", "0", "-1", "24 GB", "1e3", ",".join(["24"] * 65)])
def test_what_is_no_size_of_a_gpu_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        manager.main(["start", "--gpus", text])
    assert ended.value.code == 2
    assert "sizes of GPUs in GB, such as 24,24" in capsys.readouterr().err
