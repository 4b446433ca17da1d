#!/usr/bin/env bash
# Download the models, or go on with it. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

python=$(find_python)
exec "$python" -m scripts.operations.weights.main "$@"
