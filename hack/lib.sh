# Shared by the scripts in hack/: source it, don't run it.
# shellcheck shell=bash
# shellcheck disable=SC2034 # some variables are for the scripts that source this

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${DOCKSIDE_CACHE:-$HOME/.cache/dockside}
# su and cron omit the sbin directories from PATH; rustup, Go and hack/deps install outside of the usual PATH.
PATH=$HOME/.cargo/bin:$CACHE/go/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
# cargo-deny, installed by hack/deps --for lint in this version.
DENY=0.20.2
PATH=$CACHE/cargo-deny-$DENY/bin:$PATH

say() { printf '%s\n' "${0##*/}: $*" >&2; }
die() {
	say "$*"
	exit 1
}
have() { command -v "$1" >/dev/null; }

# wait_for SECONDS WHAT CMD...: polls CMD until it succeeds; dies naming WHAT after the timeout. WAIT_PAUSE is the poll
# interval in seconds: raise it for an expensive CMD.
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || die "timed out waiting for $what"
		sleep "${WAIT_PAUSE:-0.02}"
	done
}

# hash_of FILE...: a short hash of the files' content, for names of cache directories.
hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# Where hack/deps unpacks the Debian packages that must not be installed on the machine.
DEBS=$CACHE/debian-$(. /etc/os-release && echo "${VERSION_ID:-testing}")-$(uname -m)
