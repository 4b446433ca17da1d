#!/usr/bin/env bash
# Start the services; the first time, make their environment. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

# Before anything is installed: are the words right, the ports free, and may this folder be written?
python=.venv/bin/python
[[ -x $python ]] || python=$(find_python)
"$python" -m scripts.operations.manager preflight start "$@"
start_with start "$@"
