#!/usr/bin/env bash
# Start scheme B: S2S, TTS, and Whisper by vLLM. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

start_with start-vllm "$@"
