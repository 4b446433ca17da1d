#!/usr/bin/env bash
# Build the image of deploy/docker/Dockerfile and run the three services of it as compose.yaml does. A job of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/operations/environment.sh
source scripts/operations/environment.sh

readonly BASE=docker.io/library/python:3.11-slim-bookworm IMAGE=fun-audio-chat:cpu
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
readonly PODMAN=(podman --runtime runc --cgroup-manager cgroupfs)

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./tests/tools/test_images.sh

Builds the CPU image with buildah and runs S2S, ASR and TTS of it with podman: as user 10001, on a read-only root, with no
capability. Waits for the images' own health check, talks a turn and tries the other two through the one address, and stops
them: each must end by itself. Where no image registry is reached, the base is made by debootstrap from Debian's packages. Needs
root, the Debian packages buildah podman runc conmon catatonit debootstrap, .venv-test (scripts/run_tests.sh makes it), and the
ports 28002 to 28004. The status is 0 when all of it worked.

The images with CUDA (Dockerfile.cuda, Dockerfile.vllm) are not built here.

Last result, 2026-11-25, buildah 1.28 and podman 4.3 with runc, the base by debootstrap: built, all three healthy, a turn, a
transcription and a synthesis through port 28002, all three ended with status 0 when they were asked to.
HELP
    exit 0
fi

for program in buildah podman runc debootstrap; do
    has "$program" || fail "$program is missing: apt-get install buildah podman runc conmon catatonit debootstrap"
done
[[ $EUID -eq 0 ]] || fail "only root can make the base image and run containers here"

# As the official image: Debian 12 with a program called python. The mirror is the one that this machine uses.
make_base() {
    local folder mirror container
    folder=$(mktemp -d)
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" "${mirror:-http://deb.debian.org/debian}"
    ln -sf python3 "$folder/usr/bin/python"
    container=$(buildah from scratch)
    buildah copy -q "$container" "$folder" / >/dev/null
    buildah config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$container"
    buildah commit -q --rm "$container" "$BASE"
    rm -rf "$folder"
}

# service NAME PORT ARGUMENT…: with the restrictions of compose.yaml's x-cpu.
service() {
    local name=$1 port=$2
    shift 2
    "${PODMAN[@]}" run -d --name "fun-audio-$name" --network host --no-healthcheck --ulimit nofile=16384:16384 --ulimit nproc=4096:4096 \
        --init --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges -e "HEALTH_URL=http://127.0.0.1:$port" \
        "localhost/$IMAGE" "$@" --host 127.0.0.1 --port "$port" --engine embedded --drain-s 60 >/dev/null
}

wait_until_healthy() {
    local name
    for name in "$@"; do
        for _ in {1..120}; do
            if "${PODMAN[@]}" exec "fun-audio-$name" sh -c "exec python scripts/containers/healthcheck.py \$HEALTH_URL" >/dev/null; then
                continue 2
            fi
            sleep 1
        done
        "${PODMAN[@]}" logs "fun-audio-$name" >&2
        fail "$name did not get healthy"
    done
}

finish() {
    "${PODMAN[@]}" rm -f fun-audio-s2s fun-audio-asr fun-audio-tts >/dev/null 2>&1 || true
}

buildah inspect --type image "$BASE" >/dev/null 2>&1 || buildah pull -q "$BASE" 2>/dev/null || make_base
buildah bud --layers --format docker --isolation chroot --pull=never --network host -v "$CERTIFICATES:$CERTIFICATES:ro" \
    -f deploy/docker/Dockerfile -t "$IMAGE" .
finish
trap finish EXIT
service s2s 28002 web_demo.server.server --asr-url http://127.0.0.1:28003 --tts-url http://127.0.0.1:28004
service asr 28003 web_demo.server.asr_server
service tts 28004 web_demo.server.tts_server
wait_until_healthy s2s asr tts
"${PODMAN[@]}" exec fun-audio-s2s sh -c 'id -u | grep -qx 10001 && ! touch /app/x 2>/dev/null' || fail "the container may write, or is not user 10001"
PYTHONPATH=$PWD .venv-test/bin/python scripts/test_deployment.py --url http://127.0.0.1:28002 --only s2s --only asr --only tts
for name in s2s asr tts; do
    "${PODMAN[@]}" stop -t 30 "fun-audio-$name" >/dev/null
    status=$("${PODMAN[@]}" inspect -f '{{.State.ExitCode}}' "fun-audio-$name")
    [[ $status == 0 ]] || fail "$name ended with status $status"
done
echo 'the images build, run and end as they should'
