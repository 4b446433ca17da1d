"""The shell functions that make and update virtual environments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "scripts" / "operations" / "environment.sh"


def bash(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", "-euo", "pipefail", "-c", f"source '{LIBRARY}'\n{code}"]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], **environment}
    )


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder with requirement files and a `.venv` whose pip writes down what it was asked."""
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/bash\n"
        'if [[ $1 == -m && $2 == pip ]]; then echo "${*:3}" >> pip.log; [[ ! -e broken ]]; exit; fi\n'
        f'exec {sys.executable} "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "requirements.txt").write_text("a==1\n")
    (tmp_path / "requirements-nodeps.txt").write_text("b==1\n")
    (tmp_path / "requirements-models.txt").write_text("-r requirements.txt\ntorch==2.13.0\n")
    return tmp_path


def asked(folder: Path) -> list[str]:
    log = folder / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_requirements_are_installed_once_and_again_when_a_file_changes(venv: Path) -> None:
    code = "install_requirements .venv requirements.txt requirements-nodeps.txt"
    once = ["install -r requirements.txt", "install --no-deps -r requirements-nodeps.txt"]
    assert bash(code, venv).returncode == 0
    assert bash(code, venv).stdout == ""
    assert asked(venv) == once
    (venv / "requirements.txt").write_text("a==2\n")
    assert bash(code, venv).returncode == 0
    assert asked(venv) == once * 2


def test_a_change_of_an_included_file_is_a_change_and_that_of_another_is_none(venv: Path) -> None:
    code = "install_requirements .venv requirements-models.txt"
    environment = {"TORCH_INDEX_URL": "https://torch.example"}
    assert bash(code, venv, **environment).returncode == 0
    first = len(asked(venv))
    (venv / "requirements-nodeps.txt").write_text("b==2\n")
    assert bash(code, venv, **environment).stdout == ""
    (venv / "requirements.txt").write_text("a==2\n")
    assert bash(code, venv, **environment).returncode == 0
    assert len(asked(venv)) == 2 * first


def test_programs_that_need_other_files_take_turns_without_installing_again(venv: Path) -> None:
    start, archive = (
        f"install_requirements .venv requirements.txt {more}" for more in ("requirements-nodeps.txt", "x.txt")
    )
    (venv / "x.txt").write_text("x==1\n")
    for code in (start, archive):
        assert bash(code, venv).returncode == 0
    assert len(asked(venv)) == 4
    for code in (start, archive, "install_requirements .venv requirements.txt"):
        assert bash(code, venv).stdout == ""
    (venv / "x.txt").write_text("x==2\n")
    assert bash(start, venv).stdout == ""
    assert bash(archive, venv).returncode == 0
    (venv / "x.txt").write_text("x==1\n")  # as it was at first, and that is not installed any more
    assert bash(archive, venv).returncode == 0
    assert len(asked(venv)) == 8
    (venv / "x.txt").unlink()
    (venv / "requirements.txt").write_text("a==2\n")
    assert bash(start, venv).returncode == 0
    assert bash(start, venv).stdout == ""


def test_a_failed_install_is_said_and_tried_again_the_next_time(venv: Path) -> None:
    code = "install_requirements .venv requirements.txt"
    (venv / "broken").touch()
    failed = bash(code, venv)
    assert failed.returncode == 1
    assert "pip could not install requirements.txt" in failed.stderr
    (venv / "broken").unlink()
    assert bash(code, venv).returncode == 0
    assert len(asked(venv)) == 2


def test_the_checkout_is_made_importable_by_what_is_already_installed(venv: Path) -> None:
    (venv / "pyproject.toml").write_text("[project]\n")
    assert bash("install_requirements .venv requirements.txt pyproject.toml", venv).returncode == 0
    assert asked(venv)[1:] == ["install --no-deps --no-build-isolation -e ."]


def test_torch_comes_from_the_index_that_was_asked_for(venv: Path) -> None:
    done = bash(
        "install_requirements .venv requirements-models.txt", venv, TORCH_INDEX_URL="https://torch.example/cu128"
    )
    assert done.returncode == 0
    assert asked(venv) == [
        "install --index-url https://torch.example/cu128 torch==2.13.0",
        "install -r requirements-models.txt",
    ]


def test_what_must_fit_torch_comes_from_the_same_index(venv: Path) -> None:
    pins = "torch==2.8.0   # why\ntorchaudio==2.8.0\ntransformers==4.51.3\n"
    (venv / "requirements-cosyvoice.txt").write_text(pins)
    code = "install_requirements .venv requirements-cosyvoice.txt"
    assert bash(code, venv, TORCH_INDEX_URL="https://torch.example/cpu").returncode == 0
    assert asked(venv) == [
        "install --index-url https://torch.example/cpu torch==2.8.0 torchaudio==2.8.0",
        "install -r requirements-cosyvoice.txt",
    ]
    (venv / "requirements-cosyvoice.txt").write_text("transformers==4.51.3\n")
    assert "pins no torch" in bash(code, venv).stderr


def test_a_machine_without_a_new_enough_python_gets_a_clear_message(tmp_path: Path) -> None:
    done = bash("find_python", tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def python(folder: Path, name: str, version: str, machine: str = "linux x86_64") -> Path:
    """A program that takes itself for that Python on that machine."""
    system, kind = machine.split()
    parts = ", ".join(version.split("."))
    program = folder / name
    program.write_text(
        f"#!/bin/bash\n{{ echo 'import sys, platform; sys.version_info = ({parts}, 0); sys.platform = \"{system}\"'\n"
        f"echo 'platform.machine = lambda: \"{kind}\"'; /bin/cat; }} | {sys.executable} -\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("there", "machine", "taken"),
    [
        ({"python3.14": "3.14", "python3.11": "3.11", "python3": "3.14"}, "linux aarch64", "python3.11"),
        ({"python3.14": "3.14", "python3.12": "3.12", "python3.13": "3.13"}, "linux aarch64", "python3.13"),
        ({"python3": "3.14"}, "darwin arm64", "python3"),
        ({"python3": "3.15", "python3.14": "3.14"}, "linux x86_64", "python3.14"),
        ({"python3": "3.14", "python3.12": "3.12"}, "darwin x86_64", "python3.12"),
    ],
)
def test_the_python_with_the_most_packages_is_taken(
    there: dict[str, str], machine: str, taken: str, tmp_path: Path
) -> None:
    for name, version in there.items():
        python(tmp_path, name, version, machine)
    assert bash("find_python", tmp_path, PATH=str(tmp_path)).stdout == f"{taken}\n"


@pytest.mark.parametrize(
    ("version", "machine", "newest"),
    [("3.10", "linux x86_64", "3.14"), ("3.15", "linux x86_64", "3.14"), ("3.14", "darwin x86_64", "3.13")],
)
def test_a_python_that_has_no_packages_is_refused_in_words_and_a_named_one_is_never_replaced(
    version: str, machine: str, newest: str, tmp_path: Path
) -> None:
    program = python(tmp_path, "python3", version, machine)
    expected = f"Python {version}: the packages have wheels for 3.11 to {newest} on this machine"
    found = bash("find_python", tmp_path, PATH=str(tmp_path))
    assert found.returncode == 1
    assert expected in found.stderr
    named = bash("find_python", tmp_path, PYTHON=str(program))
    assert named.returncode == 1
    assert expected in named.stderr
    gone = bash("find_python", tmp_path, PYTHON=str(tmp_path / "gone"))
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "gone does not run" in gone.stderr


def test_a_python_without_venv_gets_a_clear_message_and_leaves_no_folder(tmp_path: Path) -> None:
    program = tmp_path / "python-without-venv"
    program.write_text(f'#!/bin/bash\n[[ $2 != *ensurepip* ]] || exit 1\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    done = bash("make_venv new-venv", tmp_path, PYTHON=str(program))
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr
    assert not (tmp_path / "new-venv").exists()


@pytest.mark.parametrize(
    ("cuda", "build"), [("12.6", "cu126"), ("12.8", "cu128"), ("12.9", "cu128"), ("13.0", "cu130"), ("13.2", "cu130")]
)
def test_the_pytorch_build_is_the_newest_that_the_driver_can_run(cuda: str, build: str, tmp_path: Path) -> None:
    nvidia_smi(tmp_path, f"| NVIDIA-SMI 570.86.15    Driver Version: 570.86.15    CUDA Version: {cuda}     |")
    assert bash("cuda_index", tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin").stdout == f"{build}\n"


@pytest.mark.parametrize(
    ("line", "said"), [("CUDA Version: 12.4 ", "PyTorch needs 12.6 or newer"), ("failed", "names no CUDA version")]
)
def test_a_driver_that_cannot_run_pytorch_is_refused(line: str, said: str, tmp_path: Path) -> None:
    nvidia_smi(tmp_path, line)
    done = bash("cuda_index", tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 1
    assert said in done.stderr


def nvidia_smi(folder: Path, line: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{line}\nEND\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    "script",
    sorted(
        str(path.relative_to(ROOT)) for folder in ("scripts", "tests/tools") for path in (ROOT / folder).glob("*.sh")
    ),
)
def test_every_script_explains_itself_without_doing_anything(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / script), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: ./{script}")


def test_the_packages_of_those_models_are_installed_that_are_there(tmp_path: Path) -> None:
    models = tmp_path / "pretrained_models"
    (models / ".cache").mkdir(parents=True)
    assert bash("requirements_of_models", tmp_path).stdout == ""
    (models / "matcha-icefall-zh-en").mkdir()
    (models / "matcha-icefall-zh-en" / "tokens.txt").touch()
    assert bash("requirements_of_models", tmp_path).stdout == "requirements-sherpa.txt\n"
    (models / "Fun-ASR-Nano-2512").mkdir()
    assert bash("requirements_of_models", tmp_path).stdout == "requirements-sherpa.txt\nrequirements-models.txt\n"
