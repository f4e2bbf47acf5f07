# Shared by the scripts in hack/: source it, don't run it.
# shellcheck shell=bash

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${DOCKSIDE_CACHE:-$HOME/.cache/dockside}
# su and cron leave the sbin folders out; rustup, Go and hack/deps (Go, if it was missing or old) install outside of the
# usual PATH.
PATH=$HOME/.cargo/bin:$CACHE/go/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin

say() { printf '%s\n' "${0##*/}: $*" >&2; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null; }

# wait_for SECONDS WHAT CMD...: polls until CMD succeeds, or dies saying what it waited for. WAIT_PAUSE: seconds between
# two looks, for one that costs something.
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || die "gave up waiting for $what"
		sleep "${WAIT_PAUSE:-0.02}"
	done
}

# hash_of FILE...: a short name for the content of these files.
hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# Where hack/deps unpacks Debian packages that are not to be installed.
DEBS=$CACHE/debian-$(. /etc/os-release && echo "${VERSION_ID:-testing}")-$(uname -m)
