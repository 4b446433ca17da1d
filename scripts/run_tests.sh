#!/usr/bin/env bash
# Set up the test environment and run every check and test, or some of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly VENV=.venv-test
readonly PAGE_TESTS=tests/web_demo/client
# Rules and small parts alone: no model, no child process, no browser, and no torch, which takes longer to import than all of
# these take to run.
readonly FAST=(
    tests/test_architecture.py tests/test_documents.py tests/utils/test_{bucket,channel,sentences,threads}.py
    tests/web_demo/audio tests/web_demo/engines/test_{choice,registry}.py tests/web_demo/engines/asr/test_{batching,languages}.py
    tests/web_demo/engines/tts/test_text.py tests/web_demo/text/test_{frontend,markdown,plain,scripts}.py tests/web_demo/engines/s2s/cascade/test_thoughts.py
    tests/web_demo/engines/s2s/funaudiochat/test_{frames,prompt,tools}.py tests/web_demo/server/conversation
    tests/web_demo/server/common/test_{access,budgets,settings}.py tests/web_demo/server/common/realtime
    tests/web_demo/server/tts/test_{encode,settings,speech}.py tests/web_demo/server/wires/test_chat_{settings,words}.py
    tests/web_demo/server/test_{protocal,protocol_page,funaudiochat_infer}.py
    tests/web_demo/models/funaudiochat/engine/test_{scheduler,pages}.py tests/web_demo/models/cosyvoice3/engine/test_cursor.py
    tests/scripts/benchmarks tests/scripts/operations/test_{modes,services,logs}.py tests/deploy/test_containers.py
)

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./scripts/run_tests.sh [--check | --fast | --long] [PYTEST ARGUMENT …]

Makes .venv-test if there is none, installs what has changed in the requirement files, then runs ruff, mypy, shellcheck,
hadolint, the page's tests (node) and pytest, which gets the arguments. The status is 0 when everything passed. As root on
Debian or Ubuntu it also installs missing system packages that tests need.

  --check   the linters and the type checker alone
  --fast    the tests of rules and small parts alone, about 20 seconds
  --long    the tests alone that take many seconds each and that no other run has: kernels compiled for GPUs that are not here, whole
            services with both models, Ray, Firefox. What is to be merged passes these too.
HELP
    exit 0
fi

what=all
case ${1:-} in
    --check) what=check && shift ;;
    --fast) what=fast && shift ;;
    --long) what=long && shift ;;
esac

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

lint() {
    local shell_scripts
    mapfile -t shell_scripts < <(find scripts tests/tools deploy .ci -type f \( -name '*.sh' -o -path .ci/run \) | sort)
    check ruff check .
    check ruff format --check .
    check mypy
    check shellcheck -x "${shell_scripts[@]}"
    check hadolint deploy/docker/Dockerfile* deploy/ray/Dockerfile
}

install_programs() {
    needs_program node nodejs
    needs_program npm npm
    needs_program haproxy haproxy
    needs_program nginx nginx-light
    needs_program caddy caddy
    needs_program promtool prometheus
    needs_program systemd-analyze systemd
    needs_program docker-compose docker-compose
    needs_program sshd openssh-server
    needs_program chromium chromium
    needs_program firefox-esr firefox-esr
    needs_program pulseaudio pulseaudio # a loudspeaker for it that nobody hears
    needs_program curl curl
    if has npm && [[ ! -d $PAGE_TESTS/node_modules/axe-core ]]; then
        npm install --prefix "$PAGE_TESTS" --no-package-lock --no-audit --no-fund --silent
    fi
}

test_page() {
    local node_tests
    mapfile -t node_tests < <(find tests -name '*.test.js' | sort)
    check node --test "${node_tests[@]}"
}

# Many tests wait for real time to pass: two processes for each core.
side_by_side() {
    check python -m pytest -n 4 --dist worksteal -m "$@"
}

make_venv "$VENV"
install_requirements "$VENV" requirements-dev.txt requirements-nodeps.txt requirements-models.txt requirements-archive.txt pyproject.toml
PATH=$PWD/$VENV/bin:$PATH
export OMP_NUM_THREADS=1 # several test processes share the machine

case $what in
    check) lint ;;
    fast) check python -m pytest "${FAST[@]}" "$@" ;;
    long) install_programs && side_by_side long "$@" ;;
    all) lint && install_programs && test_page && side_by_side "not long" "$@" ;;
esac

if ((${#failed[@]})); then
    printf 'failed: %s\n' "$(printf '%s; ' "${failed[@]}")" >&2
    exit 1
fi
