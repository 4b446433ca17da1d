#!/usr/bin/env bash
# Set up a machine from nothing: system packages, PyTorch for its GPU, the real engines, and a doctor at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VLLM_VENV=.venv-vllm COSYVOICE_VENV=.venv-cosyvoice

usage() {
    cat <<'HELP'
usage: ./scripts/full_setup.sh [--cpu-only | --laptop] [--with-vllm] [--with-cosyvoice] [--no-system-packages] [--no-doctor]

Safe to run again: only what is missing is done.

  --cpu-only             the small core alone: embedded engines, no torch
  --laptop               the core and sherpa-onnx, for real recognition and a real voice without a GPU: no torch
  --with-vllm            vLLM in an environment of its own (.venv-vllm); its pins clash with everything else
  --with-cosyvoice       upstream's code for --engine cosyvoice (a submodule), with an environment of its own (.venv-cosyvoice)
  --no-system-packages   do not use apt-get
  --no-doctor            leave out the checks at the end

environment:
  TORCH_INDEX_URL        package index of PyTorch in .venv (default: cu126, cu128 or cu130 by the driver, cpu without a GPU)
  PYTHON                 the Python to make the environments with (default: of 3.11 to 3.14, the one with the most packages)
HELP
}

models=1 laptop=0 vllm=0 cosyvoice=0 system=1 doctor=1
for argument in "$@"; do
    case $argument in
        -h | --help) usage && exit 0 ;;
        --cpu-only) models=0 ;;
        --laptop) models=0 laptop=1 ;;
        --with-vllm) vllm=1 ;;
        --with-cosyvoice) cosyvoice=1 ;;
        --no-system-packages) system=0 ;;
        --no-doctor) doctor=0 ;;
        *) usage >&2 && printf 'error: unknown argument: %s\n' "$argument" >&2 && exit 2 ;;
    esac
done

[[ -w . ]] || fail "$PWD cannot be written by this user, and the environment is made in it: work in a copy that you own"

# What is missing of: git, ffmpeg, curl, and Python's venv module.
install_system_packages() {
    local missing=() program
    for program in git ffmpeg curl; do
        has "$program" || missing+=("$program")
    done
    (python=$(find_python) && "$python" -c 'import ensurepip, venv') 2>/dev/null || missing+=(python3 python3-venv)
    ((${#missing[@]})) || return 0
    if [[ $system == 0 || $EUID -ne 0 ]] || ! has apt-get; then
        printf 'note: not installed: %s (needs root and apt-get)\n' "${missing[*]}"
        return 0
    fi
    printf 'installing %s\n' "${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install_system_packages
make_venv .venv
requirements=(requirements.txt requirements-nodeps.txt pyproject.toml)
[[ $laptop == 0 ]] || requirements+=(requirements-sherpa.txt)
torch_index=${TORCH_INDEX_URL:-}
unset TORCH_INDEX_URL
if [[ $models == 1 ]]; then
    requirements+=(requirements-models.txt)
    if [[ -z $torch_index ]] && has nvidia-smi; then
        build=$(cuda_index)
        torch_index=https://download.pytorch.org/whl/$build
        printf 'PyTorch build: %s\n' "$build"
    fi
fi
TORCH_INDEX_URL=$torch_index install_requirements .venv "${requirements[@]}"

if [[ $cosyvoice == 1 ]]; then
    [[ -f .gitmodules ]] || fail "this checkout has no submodules (.gitmodules is missing): clone it with git"
    git submodule update --init --recursive third_party/CosyVoice
    make_venv "$COSYVOICE_VENV"
    # Its older torch is not in the index of every CUDA: the registry's build runs with any driver for CUDA 12 or newer.
    install_requirements "$COSYVOICE_VENV" requirements-cosyvoice.txt
fi
if [[ $vllm == 1 ]]; then
    make_venv "$VLLM_VENV"
    install_requirements "$VLLM_VENV" requirements-vllm.txt
fi
if [[ $doctor == 1 ]]; then
    doctor_options=()
    [[ $models == 0 ]] || doctor_options+=(--models)
    .venv/bin/python scripts/doctor.py ${doctor_options[@]+"${doctor_options[@]}"} # empty, bash 3.2 takes it for unset
fi
if [[ $laptop == 1 ]]; then
    echo "set up. Next: ./scripts/download_models.sh --laptop (models), ./scripts/start_services.sh --with-tts"
else
    echo "set up. Next: ./scripts/download_models.sh (weights), ./scripts/start_services.sh"
fi
