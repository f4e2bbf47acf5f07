# Part of hack/cluster, which sources it: what runs inside the boxes, on the first node and on the others.
# shellcheck shell=bash disable=SC2154,SC2086 # variables are set by hack/cluster, and have no spaces

environment() {
	use_tools
	# shellcheck disable=SC2034 # used in hack/cluster-servers.sh
	node_ip=$(ip -json -4 addr show dev eth0 | jq -r '.[0].addr_info[0].local')
	export NODE APISERVER CLUSTER_DIR=$dir KUBECONFIG=$dir/admin.kubeconfig DOCKER_HOST=unix:///run/docker.sock
	export KUBECACHEDIR=$dir/kubectl-cache KUBERC=off # kubectl must neither write to nor read from the home directory
	PATH=$PATH:$(dirname "$dockside")
	export REPO PATH
}

# ---- up and down ----

up() {
	if [[ -e $dir/up ]]; then
		step "the cluster is up already"
		return
	fi
	prepare_node
	[[ ! ${CLUSTER_NODE-} ]] || runs calls || launch calls "$REPO/hack/cluster" serve
	[[ -e $dir/ca.crt ]] || make_identities
	kubeconfig admin
	kubeconfig "node-$NODE"
	step "certificates and keys are in $dir"
	if [[ $bare ]]; then
		side_by_side etcd
		side_by_side kube-apiserver
		touch $dir/up
		return
	fi
	local joined=()
	join_others
	side_by_side etcd dockside
	side_by_side kube-apiserver
	side_by_side kube-controller-manager kubelet ${scheduler:+kube-scheduler}
	await_node
	step "node $NODE is Ready"
	local one
	for one in "${joined[@]}"; do
		wait "$one"
	done
	((nodes == 1)) || route_between_nodes
	touch $dir/up
}
prepare_node() {
	mkdir -p $dir
	printf '%s=%q\n' kubelet "$kubelet" dockside "$dockside" nodes "$nodes" >$dir/options
	echo "runtime-endpoint: unix://$socket" >/etc/crictl.yaml
}
side_by_side() { # side_by_side NAME...: starts servers in parallel, and returns when all of them answer
	local name started=()
	for name; do
		{ "start_$name" && step "$name answers"; } &
		started+=($!)
	done
	for name in "${started[@]}"; do
		wait "$name"
	done
}
await_node() {
	wait_for 60 "the node to be Ready (see $logs/kubelet.log, $logs/dockside.log)" node_is_ready
	wait_for 60 "the default service account and the node's pod CIDR (see kube-controller-manager.log)" node_takes_pods
}
node_is_ready() {
	api "/api/v1/nodes/$NODE" | jq -e 'any(.status.conditions[]; .type == "Ready" and .status == "True")'
}
node_takes_pods() { # the service account and kube-root-ca.crt exist, and the node has a pod CIDR and no not-ready taint
	api "/api/v1/nodes/$NODE" | jq -e '.spec | .podCIDR and .taints == null' &&
		api /api/v1/namespaces/default/configmaps/kube-root-ca.crt &&
		api /api/v1/namespaces/default/serviceaccounts/default
}

others() { # prints the names of all nodes but the first
	local number
	for ((number = 2; number <= nodes; number++)); do
		node_name "$number"
	done
}

servers=(kubelet dockside kube-scheduler kube-controller-manager kube-apiserver etcd)
down() {
	local name
	if [[ $NODE == inajob ]]; then
		for name in $(others); do
			call_node "$name" down
		done
	fi
	for name in "${servers[@]}"; do
		end_with TERM "$name"
	done
	rm -rf $dir/up $dir/options
}

act() { # act start|stop|kill NAME: on this node
	[[ " dockerd ${servers[*]} " == *" ${2-} "* ]] || die "usage: hack/cluster $1 [--node NODE] dockerd|${servers[*]}"
	case $1-$2 in
	start-dockerd) dockerd_runs || "$REPO/hack/box-dockerd" start ;;
	*-dockerd) ! dockerd_runs || "$REPO/hack/box-dockerd" "$1" ;;
	start-*) runs "$2" || "start_$2" ;;
	stop-*) end_with TERM "$2" ;;
	kill-*) end_with KILL "$2" ;;
	esac
}
dockerd_runs() {
	local pid
	pid=$(cat /run/box/dockerd.pid) && [[ $(cat "/proc/$pid/comm") == dockerd ]]
} 2>/dev/null

save_logs() {
	[[ ${CLUSTER_LOGS-} ]] || return 0
	mkdir -p "$CLUSTER_LOGS"
	cp $logs/*.log "$CLUSTER_LOGS"
	local name
	for name in $(others); do
		mkdir -p "$CLUSTER_LOGS/$name"
		on "$name" bash -c "cd $logs && tar -c *.log" | tar -C "$CLUSTER_LOGS/$name" -x
	done
}

# ---- several nodes ----

join_others() { # sends the other nodes their credentials, and starts them; adds to $joined a job that exits on Ready
	local name
	for name in $(others); do
		{
			mkdir -p "$CLUSTER_SHARED/for-$name"
			cp $dir/ca.crt $dir/{admin,node-"$name",kubelet-"$name"}.{crt,key} "$CLUSTER_SHARED/for-$name"
			wait_for 60 "the box of $name" test -p "$CLUSTER_SHARED/$name"
			call_node "$name" join --kubelet "$kubelet"
			step "node $name is Ready"
		} &
		joined+=($!)
	done
}

join() { # what up does on a node that is not the first
	prepare_node
	cp "$CLUSTER_SHARED/for-$NODE"/* $dir
	kubeconfig admin
	kubeconfig "node-$NODE"
	runs dockside || start_dockside
	wait_for 60 "the API server on inajob" api /readyz
	runs kubelet || start_kubelet
	await_node
}

route_between_nodes() {
	local name routes=()
	for name in $(others); do
		call_node "$name" route &
		routes+=($!)
	done
	route
	for name in "${routes[@]}"; do
		wait "$name"
	done
	step "pods on one node reach those on another"
}

# What a cloud provider does for its nodes: each gets a route to the pods of every other node, and /etc/hosts entries. The
# two rules exempt pod-to-pod traffic from the bridge network's masquerading, and accept it where Docker has set the
# FORWARD policy to DROP.
route() {
	local all name address cidr
	all=$(api /api/v1/nodes | jq -r '.items[] | [
		.metadata.name, (.status.addresses[] | select(.type == "InternalIP").address), .spec.podCIDR
	] | @tsv')
	while read -r name address cidr; do
		[[ $name != "$NODE" ]] || continue
		ip route replace "$cidr" via "$address"
		grep -q " $name\$" /etc/hosts || echo "$address $name" >>/etc/hosts
	done <<<"$all"
	rule filter -A FORWARD -d $pod_cidr -j ACCEPT
	rule nat -I POSTROUTING -s $pod_cidr -d $pod_cidr -j ACCEPT
}
rule() { # rule TABLE -A|-I CHAIN WORD...: adds the iptables rule unless it exists
	iptables -w -t "$1" -C "${@:3}" 2>/dev/null || iptables -w -t "$1" "${@:2}"
}

# ---- remote calls between nodes ----

# The server side: reads directory names from the node's pipe in $CLUSTER_SHARED. Such a directory has the arguments for
# hack/cluster in the file "words", and a pipe each for stdin, stdout, stderr and the exit code.
serve() {
	local call
	mkfifo "$CLUSTER_SHARED/$NODE.new"
	mv "$CLUSTER_SHARED/$NODE.new" "$CLUSTER_SHARED/$NODE"
	while read -r call <&3; do
		answer "$CLUSTER_SHARED/$call" 3>&- &
	done 3<>"$CLUSTER_SHARED/$NODE"
}
answer() {
	local words status=0
	mapfile -d '' -t words <"$1/words"
	"$REPO/hack/cluster" "${words[@]}" <"$1/in" >"$1/out" 2>"$1/err" || status=$?
	echo $status >"$1/status"
}

call_node() { # call_node NODE VERB ARG...: the client side: runs hack/cluster VERB ARG... in that node's box
	local calls=${CLUSTER_SHARED-} call status input output
	[[ $calls ]] || calls=$(shared_outside)
	[[ -p $calls/$1 ]] || die "no node $1 in this cluster"
	call=$(mktemp -d "$calls/call.XXXXXX")
	printf '%s\0' "${@:2}" >"$call/words"
	mkfifo "$call"/{in,out,err,status}
	basename "$call" >"$calls/$1"
	cat <&0 >"$call/in" &
	input=$!
	cat "$call/out" &
	output=$!
	cat "$call/err" >&2 &
	read -r status <"$call/status"
	wait $output $!
	kill $input 2>/dev/null || true
	rm -r "$call"
	return "$status"
}
on() { # on NODE COMMAND...
	(($# > 1)) || die "usage: hack/cluster on NODE COMMAND..."
	call_node "$1" enter "${@:2}"
}
