# shellcheck shell=bash
# Virtual environments, for the scripts beside this one to source: found or made, and brought up to date only when a
# requirements file has changed. Everything says what to do when it fails.

readonly TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Prints the first Python that is new enough.
find_python() {
    local name
    for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [[ -n $name ]] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found. Debian/Ubuntu: apt install python3 python3-venv;" \
        "or name one: PYTHON=/path/to/python3.12 $0"
}

# make_venv DIRECTORY: does nothing when there is a working one.
make_venv() {
    local venv=$1 python
    if [[ -x $venv/bin/python ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python) || exit 1
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments. Debian/Ubuntu: apt install python3-venv"
    printf 'making the virtual environment %s with %s\n' "$venv" "$("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        fail "the virtual environment $venv could not be made (see above)"
    }
}

# install_requirements DIRECTORY FILE…: a file whose name holds "nodeps" is installed without dependencies; pyproject.toml
# stands for the checkout itself, and comes after requirements.txt, which brings what installs it.
install_requirements() {
    local venv=$1 file stamp=$1/.installed wanted
    shift
    wanted=$(fingerprint "$venv" "$@")
    if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    rm -f "$stamp"
    for file in "$@"; do
        printf 'installing %s\n' "$file"
        case $file in
            pyproject.toml) "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e . ;;
            *nodeps*) "$venv/bin/python" -m pip install --no-deps -r "$file" ;;
            *models* | *cosyvoice*) install_torch "$venv" "$file" && "$venv/bin/python" -m pip install -r "$file" ;;
            *) "$venv/bin/python" -m pip install -r "$file" ;;
        esac || fail "pip could not install $file (see above). Run the same command again once the cause is gone"
    done
    printf '%s\n' "$wanted" >"$stamp"
}

# Without an NVIDIA GPU on Linux, take the CPU build: the default index has the CUDA build there, gigabytes of it. Where the
# CPU index cannot be reached, pip's own configuration decides.
install_torch() {
    local venv=$1 pins index=${TORCH_INDEX_URL:-}
    mapfile -t pins < <(grep -oE '^torch(audio)?==[^ ]+' "$2")
    ((${#pins[@]})) || fail "$2 pins no torch"
    if [[ -z $index && $(uname -s) == Linux ]] && ! has nvidia-smi && reachable "$venv" "$TORCH_CPU_INDEX/torch/"; then
        index=$TORCH_CPU_INDEX
    fi
    if [[ -n $index ]]; then
        "$venv/bin/python" -m pip install --index-url "$index" "${pins[@]}"
    fi
}

# The newest CUDA build of PyTorch that the driver can run.
cuda_index() {
    local version
    version=$(nvidia-smi | sed -n 's/.*CUDA Version: *\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
    [[ -n $version ]] || fail "nvidia-smi names no CUDA version: is the driver working? --cpu-only does without"
    local major=${version% *} minor=${version#* }
    if ((major >= 13)); then
        printf 'cu130\n'
    elif ((major == 12 && minor >= 8)); then
        printf 'cu128\n'
    elif ((major == 12 && minor >= 6)); then
        printf 'cu126\n'
    else
        fail "the driver supports CUDA $major.$minor, PyTorch needs 12.6 or newer: update the NVIDIA driver"
    fi
}

reachable() {
    "$1/bin/python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10).close()' "$2" \
        2>/dev/null
}

# The Python version and the contents of the requirement files and of those that they include, in one line.
fingerprint() {
    local venv=$1
    shift
    "$venv/bin/python" - "$@" <<'PYTHON'
import hashlib, pathlib, re, sys
digest = hashlib.sha256(sys.version.encode())
names = sys.argv[1:]
for name in names:
    text = pathlib.Path(name).read_text()
    digest.update(f"{name}\0{text}\0".encode())
    names += [included for included in re.findall(r"^-r (\S+)", text, re.MULTILINE) if included not in names]
print(digest.hexdigest())
PYTHON
}

# start_with COMMAND ARGUMENT…: brings .venv up to date, then becomes the service manager. The packages of the real engines
# are installed where there are weights, or with --models.
start_with() {
    local command=$1 argument install=1 models=0 python=.venv/bin/python
    local requirements=(requirements.txt requirements-nodeps.txt pyproject.toml)
    shift
    for argument in "$@"; do
        case $argument in
            -h | --help | --dry-run | --gpus | --gpus=*) install=0 ;;
            --models) models=1 ;;
        esac
    done
    if [[ $models == 1 || -n $(find pretrained_models -mindepth 1 -maxdepth 1 -type d ! -name '.*' -print -quit) ]]; then
        requirements+=(requirements-models.txt)
    fi
    if [[ $install == 1 ]]; then
        make_venv .venv
        install_requirements .venv "${requirements[@]}"
    fi
    [[ -x $python ]] || python=$(find_python)
    exec "$python" -m scripts.operations.manager "$command" "$@"
}
