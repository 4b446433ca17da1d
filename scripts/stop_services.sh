#!/usr/bin/env bash
# Stop exactly what start_services.sh started. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

python=.venv/bin/python
[[ -x $python ]] || python=$(find_python)
exec "$python" -m scripts.operations.manager stop "$@"
