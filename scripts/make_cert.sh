#!/usr/bin/env bash
# Make a self-signed certificate, so that the page gets the microphone when it is opened from another machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    cat <<'HELP'
usage: ./scripts/make_cert.sh [NAME_OR_ADDRESS …]

Writes run/tls/cert.pem and run/tls/key.pem (readable by you alone), valid for 825 days, for localhost, this machine's name and
addresses, and every NAME_OR_ADDRESS given. Then start the service with

    --ssl-cert run/tls/cert.pem --ssl-key run/tls/key.pem

and open https://THIS-MACHINE:8002. The browser warns once, because nobody vouches for the certificate.
HELP
    exit 0
fi

command -v openssl >/dev/null || { echo 'openssl is missing: install the package openssl' >&2; exit 1; }

readonly FOLDER=run/tls
names=()
add() {
    if [[ $1 == -* ]]; then
        printf 'usage: ./scripts/make_cert.sh [NAME_OR_ADDRESS …]\nnot an option: %q (--help tells more)\n' "$1" >&2
        exit 2
    elif [[ $1 == *[!A-Za-z0-9.:-]* || -z $1 ]]; then
        printf 'not a host name or an address: %q\n' "$1" >&2
        exit 2
    elif [[ $1 == *:* || $1 =~ ^[0-9]+(\.[0-9]+){3}$ ]]; then
        names+=("IP:$1")
    else
        names+=("DNS:$1")
    fi
}

add localhost
add 127.0.0.1
add ::1
add "$(hostname)"
for address in $(hostname -I 2>/dev/null || true); do add "$address"; done
for name in "$@"; do add "$name"; done

mkdir -p "$FOLDER"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -sha256 -days 825 -nodes \
    -keyout "$FOLDER/key.pem" -out "$FOLDER/cert.pem" -subj "/CN=$(hostname)" \
    -addext "subjectAltName=$(IFS=,; echo "${names[*]}")" \
    -addext 'extendedKeyUsage=serverAuth' 2>/dev/null
printf 'wrote %s/cert.pem and %s/key.pem for %s\n' "$FOLDER" "$FOLDER" "${names[*]#*:}"
