#!/usr/bin/env bash
# Archives on real Rays of this machine: actors, drivers and nodes that are killed, two nodes, 300 recordings. About four minutes;
# the default run has one short test of the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-test

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./tests/tools/test_archive.sh [PYTEST ARGUMENT …]

Makes .venv-test if there is none, with Ray, and runs the tests that kill actors, drivers and nodes, and the one of 300 recordings.
HELP
    exit 0
fi

make_venv "$VENV"
install_requirements "$VENV" requirements-dev.txt requirements-nodeps.txt requirements-models.txt requirements-archive.txt pyproject.toml
export OMP_NUM_THREADS=1 ARCHIVE_TESTS=1
exec "$VENV/bin/python" -m pytest tests/web_demo/archive/test_cluster.py "$@"
