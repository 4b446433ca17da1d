#!/usr/bin/env bash
# Unmodified clients of OpenAI's audio and Realtime interfaces against the services, offline, with the embedded engines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-clients

usage() {
    cat <<'HELP'
usage: ./tests/tools/test_clients.sh [--only PROGRAM,…] [--verbose]

Makes .venv for the services and .venv-clients with the clients in Python (about 700 MB), and installs those in JavaScript
where Node.js 20 or newer is. Then it starts the services on free ports, lets each program of tests/clients try what its client
can do, and prints a table of clients and features. The status is 0 when everything worked.
HELP
}

for argument in "$@"; do
    case $argument in
        -h | --help) usage && exit 0 ;;
        --only | --only=* | --verbose | [!-]*) ;; # tests.clients.run reads them
        *) usage >&2 && printf 'error: unknown argument: %s\n' "$argument" >&2 && exit 2 ;;
    esac
done

make_venv .venv
install_requirements .venv requirements.txt requirements-nodeps.txt pyproject.toml
make_venv "$VENV"
install_requirements "$VENV" tests/requirements-clients.txt
node=()
if has node && has npm; then
    npm ci --prefix tests/clients --no-audit --no-fund --ignore-scripts
    node=(--node node)
else
    printf 'warning: Node.js is missing: the clients in JavaScript are left out\n' >&2
fi
exec .venv/bin/python -m tests.clients.run --python "$VENV/bin/python" "${node[@]}" "$@"
