# Part of hack/cluster, which sources it: creates, enters and removes the boxes, from outside.
# shellcheck shell=bash disable=SC2154,SC2086 # variables are set by hack/cluster, and have no spaces

prepare() { # builds everything that the boxes need: they have no way to the outside
	"$REPO/hack/deps" --for test
	use_tools
	[[ ${lane:-old} == old ]] || "$REPO/hack/tools/build" moby containerd runc >/dev/null
	[[ ${DOCKSIDE_BIN-} ]] || (cd "$REPO" && cargo build --locked --bin dockside --example oci-wrapper)
	"$REPO/hack/test-images" --build
	boxes=(unshare --net --mount "$REPO/hack/cluster" boxes --nodes "$nodes" --lane "${lane:-old}" --)
	again=(--nodes "$nodes" --kubelet "$kubelet" ${scheduler:+--scheduler})
	export BOX_RUNTIME=${BOX_RUNTIME:-wrapped}
}

# ---- the boxes ----

# Runs in its own network and mount namespace: the bridge that connects the boxes and the tmpfs that they share disappear
# with its last process. When this process is killed, each hack/box gets SIGTERM from the kernel (pdeathsig).
boxes() { # boxes VERB ARG...: runs hack/cluster VERB in the first node's box; when one box exits, all are stopped
	local number ended status=0
	ip link add name nodes type bridge
	ip link set nodes up
	mkdir -p "$shared"
	mount -t tmpfs -o mode=700 tmpfs "$shared"
	export CLUSTER_SHARED=$shared
	started=()
	trap end_boxes EXIT
	trap 'exit 130' INT TERM HUP
	box 1 "$@"
	for ((number = 2; number <= nodes; number++)); do
		box "$number" serve
	done
	wait -n -p ended "${started[@]}" || status=$?
	[[ $ended == "${started[0]}" ]] || die "the box of a node exited unexpectedly (status $status)"
	exit $status
}
box() { # box NUMBER VERB ARG...
	local name
	name=$(node_name "$1")
	CLUSTER_NODE=$name BOX_NAME=$name BOX_IP=$(node_address "$1") BOX_BRIDGE=nodes \
		setpriv --pdeathsig TERM "$REPO/hack/box" --lane "$lane" --images basic -- \
		"$REPO/hack/cluster" "${@:2}" <&0 &
	started+=($!)
}
end_boxes() {
	kill "${started[@]}" 2>/dev/null || true
	wait "${started[@]}" || true
}

# ---- a cluster started by up ----

keeper() { # prints the pid of the process that runs boxes()
	local pid
	pid=$(cat $kept/pid 2>/dev/null) && grep -qzx boxes "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}
box_init() { # box_init NODE: prints the pid of the init process of the node's box
	local pid box
	pid=$(keeper) || return
	for box in $(pgrep -P "$pid"); do
		grep -qzx "CLUSTER_NODE=$1" "/proc/$box/environ" || continue
		box=$(pgrep -P "$box" -x unshare) && pgrep -P "$box" && return
	done
	return 1
}
shared_outside() { # prints the path of the boxes' shared tmpfs as seen from outside
	local pid
	pid=$(keeper) || die "no cluster is running: start one with hack/cluster up"
	echo "/proc/$pid/root$shared"
}
held_or_died() {
	local pid
	keeper || return 0
	pid=$(box_init inajob) && [[ -e /proc/$pid/root$dir/up ]]
}
gone() { [[ ! -e /proc/$1/exe ]]; }

up_outside() {
	! keeper >/dev/null || die "a cluster is already running: stop it with hack/cluster down"
	prepare
	mkdir -p $kept
	setsid "${boxes[@]}" hold "${again[@]}" </dev/null >$kept/log 2>&1 &
	echo $! >$kept/pid
	tail -n +1 -f $kept/log >&2 &
	showing=$!
	trap 'kill $showing' EXIT
	wait_for 180 "the cluster" held_or_died
	keeper >/dev/null || die "the cluster did not come up"
	next_commands "    hack/cluster enter    a shell in the box: docker, crictl, the pods' addresses, $logs/*.log"
}

enter() { # enter NODE VERB ARG...: runs this script inside the node's box, on this terminal
	local pid own
	pid=$(box_init "$1") || die "no node $1 is running: start a cluster with hack/cluster up"
	mapfile -d '' -t own <"/proc/$pid/environ" # the box's environment: its PATH has the lane's Docker
	exec env -i "${own[@]}" TERM="${TERM-}" \
		nsenter -t "$pid" --mount --net --pid --ipc --uts --wdns="$PWD" "$REPO/hack/cluster" "${@:2}"
}

down_outside() {
	[[ -e $kept/pid ]] || die "no cluster is running"
	local pid
	if pid=$(keeper); then
		kill "$pid"
		wait_for 60 "the boxes to exit" gone "$pid"
	fi
	rm -r $kept
	say "the cluster is removed"
}
