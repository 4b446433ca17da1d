#!/usr/bin/env bash
# Check that what was started really serves. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

python=.venv/bin/python
[[ -x $python ]] || python=$(find_python)
exec "$python" -m scripts.operations.manager verify "$@"
