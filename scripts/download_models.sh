#!/usr/bin/env bash
# Download the models, or go on with it. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh

python=$(find_python)
exec "$python" scripts/model_download.py "$@"
