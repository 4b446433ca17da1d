#!/usr/bin/env bash
# Start the services; the first time, make their environment. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

start_with start "$@"
