#!/usr/bin/env bash
# Start the services; the first time, make their environment. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh

requirements=(requirements.txt requirements-nodeps.txt)
install=1
models=0
for argument in "$@"; do
    case $argument in
        -h | --help | --dry-run) install=0 ;;
        --models) models=1 ;;
    esac
done
if [[ $models == 1 ]] || [[ -n $(find pretrained_models -mindepth 1 -maxdepth 1 -type d ! -name '.*' -print -quit) ]]; then
    requirements+=(requirements-models.txt)
fi

if [[ $install == 1 ]]; then
    make_venv .venv
    install_requirements .venv "${requirements[@]}"
fi
python=.venv/bin/python
[[ -x $python ]] || python=$(find_python)
exec "$python" scripts/service_manager.py start "$@"
