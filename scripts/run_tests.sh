#!/usr/bin/env bash
# Set up the test environment and run every check and test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-test

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./scripts/run_tests.sh [PYTEST ARGUMENT …]

Makes .venv-test if there is none, installs what has changed in the requirement files, then runs ruff, mypy, shellcheck, the
page's tests (node) and pytest, which gets the arguments. The status is 0 when everything passed. As root on Debian or
Ubuntu it also installs missing system packages that tests need.
HELP
    exit 0
fi

# needs_program PROGRAM PACKAGE: from Debian, where that is permitted; otherwise its tests say why they cannot run.
needs_program() {
    has "$1" && return
    if [[ $EUID -eq 0 ]] && has apt-get; then
        printf 'installing the system package %s\n' "$2"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"; } \
            >/dev/null || printf 'warning: could not install %s\n' "$2" >&2
    else
        printf 'warning: %s is missing, its tests cannot run (install the package %s)\n' "$1" "$2" >&2
    fi
}

failed=()
check() {
    printf -- '--- %s\n' "$*"
    "$@" || failed+=("$*")
}

make_venv "$VENV"
install_requirements "$VENV" requirements-dev.txt requirements-nodeps.txt requirements-models.txt pyproject.toml
PATH=$PWD/$VENV/bin:$PATH
export OMP_NUM_THREADS=1 # several test processes share the machine

mapfile -t node_tests < <(find tests -name '*.test.js' | sort)
needs_program node nodejs
needs_program npm npm
needs_program haproxy haproxy
needs_program sshd openssh-server
needs_program chromium chromium
needs_program curl curl
readonly PAGE_TESTS=tests/web_demo/client
if has npm && [[ ! -d $PAGE_TESTS/node_modules/axe-core ]]; then
    npm install --prefix "$PAGE_TESTS" --no-package-lock --no-audit --no-fund --silent
fi

mapfile -t shell_scripts < <(find scripts tests/tools deploy .ci -type f \( -name '*.sh' -o -path .ci/run \) 2>/dev/null | sort)
check ruff check .
check ruff format --check .
check mypy
check shellcheck -x "${shell_scripts[@]}"
check hadolint deploy/docker/Dockerfile deploy/docker/Dockerfile.cuda
check node --test "${node_tests[@]}"
check python -m pytest -n 4 --dist worksteal "$@" # many tests wait for real time to pass: two for each core

if ((${#failed[@]})); then
    printf 'failed: %s\n' "$(printf '%s; ' "${failed[@]}")" >&2
    exit 1
fi
