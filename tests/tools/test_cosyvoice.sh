#!/usr/bin/env bash
# The cosyvoice engine against upstream's real code, on the CPU, with a tiny random model. A job of its own: it installs gigabytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-cosyvoice

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./tests/tools/test_cosyvoice.sh

Fetches upstream's code (third_party/CosyVoice), makes .venv-cosyvoice as full_setup.sh --with-cosyvoice does, writes a tiny
CosyVoice3 with random weights, and has the engine speak with it in every way, lose its threads and be abandoned. Needs
.venv-test (scripts/run_tests.sh makes it). The status is 0 when all of it worked.

Last result, 2026-11-25, upstream ace7c47 with Matcha-TTS dd9105b, torch 2.8.0 on 2 cores under other load: all of it worked; an
abandoned request let go of the model after 0.2 s while it streamed, and at once while it did not.

environment:
  COSYVOICE   a folder with upstream's code, instead of the submodule
HELP
    exit 0
fi

submodule=${COSYVOICE:-third_party/CosyVoice}
if [[ -z ${COSYVOICE:-} ]]; then
    git submodule update --init --recursive third_party/CosyVoice
fi
make_venv "$VENV"
install_requirements "$VENV" requirements-cosyvoice.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH=$PWD
.venv-test/bin/python tests/tools/make_tiny_cosyvoice.py "$folder/tiny"
.venv-test/bin/python tests/tools/cosyvoice_upstream.py "$submodule" "$folder/tiny/model" "$VENV/bin/python"
