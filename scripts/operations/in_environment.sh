#!/usr/bin/env bash
# Run a program of archives in .venv, which is made and brought up to date first: in_environment.sh PROGRAM ARGUMENT…
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/operations/environment.sh
source "$here/scripts/operations/environment.sh"
(
    cd "$here"
    make_venv .venv
    install_requirements .venv requirements.txt requirements-nodeps.txt requirements-archive-local.txt pyproject.toml
) >&2
export FUN_AUDIO_ENVIRONMENT=.venv
exec "$here/.venv/bin/python" "$@"
