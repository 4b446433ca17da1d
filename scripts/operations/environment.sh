# shellcheck shell=bash
# Virtual environments, for the scripts beside this one to source: found or made, and brought up to date only when a
# requirements file has changed. Everything says what to do when it fails. What starts and sets up runs in bash 3.2, that of macOS.

readonly TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# usable_python PROGRAM: whether the pinned packages have wheels for it. Says on standard error why not; status 2: it is not there.
usable_python() {
    "$1" - 2>/dev/null <<'PYTHON' || return 2
import platform, sys
newest = (3, 13) if (sys.platform, platform.machine()) == ("darwin", "x86_64") else (3, 14)  # onnxruntime on Intel Macs
version = sys.version_info[:2]
if not (3, 11) <= version <= newest:
    print("Python %d.%d: the packages have wheels for 3.11 to %d.%d on this machine" % (version + newest))
PYTHON
}

# Prints the best Python that is there: 3.11 and 3.13 have every package, 3.12 and 3.14 lack the embedded recogniser on some
# machines (requirements.txt). One that is named by PYTHON is taken or refused, never replaced.
find_python() {
    local name fault refused=()
    if [[ -n ${PYTHON:-} ]]; then
        fault=$(usable_python "$PYTHON") || fail "PYTHON=$PYTHON does not run"
        [[ -z $fault ]] || fail "PYTHON=$PYTHON is $fault"
        printf '%s\n' "$PYTHON"
        return
    fi
    for name in python3.11 python3.13 python3.12 python3.14 python3; do
        if ! fault=$(usable_python "$name"); then
            continue
        elif [[ -z $fault ]]; then
            printf '%s\n' "$name"
            return
        fi
        refused+=("$fault")
    done
    fail "Python 3.11 or newer is needed and was not found${refused[0]:+ (there is ${refused[0]})}. Debian/Ubuntu: apt install" \
        "python3 python3-venv; macOS: brew install python@3.13; or name one: PYTHON=/path/to/python3.13 $0"
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
    printf 'making the virtual environment %s with %s (%s)\n' "$venv" "$("$python" --version)" "$(command -v "$python")"
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        fail "the virtual environment $venv could not be made (see above)"
    }
}

# install_requirements DIRECTORY FILE…: a file whose name holds "nodeps" is installed without dependencies; pyproject.toml
# stands for the checkout itself, and comes after requirements.txt, which brings what installs it. What other programs installed
# here from other files is still there afterwards.
install_requirements() {
    local venv=$1 file stamp=$1/.installed wanted known="" others=()
    shift
    wanted=$(fingerprints "$venv" "$@")
    if [[ -f $stamp ]]; then
        if ! grep -Fxvq -f "$stamp" <<<"$wanted"; then
            return
        fi
        known=$(<"$stamp")
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
    while read -r _ file; do
        [[ ! -f $file ]] || others+=("$file")
    done <<<"$known"
    {
        printf '%s\n' "$wanted"
        fingerprints "$venv" ${others[@]+"${others[@]}"} | grep -Fx -f <(printf '%s\n' "$known") || true
    } | sort -u >"$stamp"
}

# Without an NVIDIA GPU on Linux, take the CPU build: the default index has the CUDA build there, gigabytes of it. Where the
# CPU index cannot be reached, pip's own configuration decides.
install_torch() {
    local venv=$1 pins=() pin index=${TORCH_INDEX_URL:-}
    while read -r pin; do # no mapfile: macOS has bash 3.2
        pins+=("$pin")
    done < <(grep -oE '^torch(audio)?==[^ ]+' "$2")
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

# fingerprints DIRECTORY FILE…: a line for each: of the Python version, its contents and those of the files that it includes; its name.
fingerprints() {
    local venv=$1
    shift
    "$venv/bin/python" - "$@" <<'PYTHON'
import hashlib, pathlib, re, sys
for file in sys.argv[1:]:
    digest = hashlib.sha256(sys.version.encode())
    names = [file]
    for name in names:
        text = pathlib.Path(name).read_text()
        digest.update(f"{name}\0{text}\0".encode())
        names += [included for included in re.findall(r"^-r (\S+)", text, re.MULTILINE) if included not in names]
    print(digest.hexdigest(), file)
PYTHON
}

# Prints the requirement files of the models that are there: those of sherpa-onnx have their tokens in a text file.
requirements_of_models() {
    local folder big=0 laptop=0
    for folder in pretrained_models/*/; do
        [[ -d $folder ]] || continue
        if [[ -f ${folder}tokens.txt || -f ${folder}encoder_adaptor.int8.onnx ]]; then laptop=1; else big=1; fi
    done
    [[ $laptop == 0 ]] || printf 'requirements-sherpa.txt\n'
    [[ $big == 0 ]] || printf 'requirements-models.txt\n'
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
    while IFS= read -r argument; do requirements+=("$argument"); done < <(requirements_of_models)
    if [[ $models == 1 && " ${requirements[*]} " != *requirements-models.txt* ]]; then
        requirements+=(requirements-models.txt)
    fi
    if [[ $install == 1 ]]; then
        make_venv .venv
        install_requirements .venv "${requirements[@]}"
    fi
    [[ -x $python ]] || python=$(find_python)
    exec "$python" -m scripts.operations.manager "$command" "$@"
}
