# Part of hack/cluster, which sources it: what happens in the boxes, of the first node and of the others.
# shellcheck shell=bash disable=SC2154 # what hack/cluster sets

environment() {
	use_tools
	node_ip=$(ip -json -4 addr show dev eth0 | jq -r '.[0].addr_info[0].local')
	export NODE APISERVER CLUSTER_DIR=$dir KUBECONFIG=$dir/admin.kubeconfig DOCKER_HOST=unix:///run/docker.sock
	export KUBECACHEDIR=$dir/kubectl-cache KUBERC=off # nothing of this cluster in the home directory, nor the reverse
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
side_by_side() { # side_by_side NAME...: starts servers at the same time, and returns when all answer
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
	wait_for 60 "what each pod needs (see kube-controller-manager.log)" pods_may_come
}
node_is_ready() {
	api "/api/v1/nodes/$NODE" | jq -e 'any(.status.conditions[]; .type == "Ready" and .status == "True")'
}
pods_may_come() { # the service account and kube-root-ca.crt are there, the not-ready taint is gone
	api "/api/v1/nodes/$NODE" | jq -e '.spec | .podCIDR and .taints == null' &&
		api /api/v1/namespaces/default/configmaps/kube-root-ca.crt &&
		api /api/v1/namespaces/default/serviceaccounts/default
}

others() { # prints the names of the other nodes, as seen from the first
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
			ask "$name" down
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

join_others() { # tells the other nodes who they are; notes in $joined what ends when they are Ready
	local name
	for name in $(others); do
		{
			mkdir -p "$CLUSTER_SHARED/for-$name"
			cp $dir/ca.crt $dir/{admin,node-"$name",kubelet-"$name"}.{crt,key} "$CLUSTER_SHARED/for-$name"
			wait_for 60 "the box of $name" test -p "$CLUSTER_SHARED/$name"
			ask "$name" join --kubelet "$kubelet"
			step "node $name is Ready"
		} &
		joined+=($!)
	done
}

join() { # another node's part of up
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
	local name asked=()
	for name in $(others); do
		ask "$name" route &
		asked+=($!)
	done
	route
	for name in "${asked[@]}"; do
		wait "$name"
	done
	step "pods on one node reach those on another"
}

# What a cloud does for its nodes: each gets a route to every other's pods, and knows their names. Between pods no address
# is changed, though each node's own bridge network hides its pods behind the node where they leave it; and where Docker
# has set the FORWARD policy to DROP, the pods can be reached all the same.
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
rule() { # rule TABLE -A|-I CHAIN WORD...: adds it, if it is not there
	iptables -w -t "$1" -C "${@:3}" 2>/dev/null || iptables -w -t "$1" "${@:2}"
}

# ---- one node asks another ----

# A node reads the names of directories from its pipe in $CLUSTER_SHARED. In such a directory are the words of a command
# of hack/cluster, and a pipe each for its input, its output, its errors and its exit code.
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

ask() { # ask NODE VERB ARG...: hack/cluster VERB ARG... in that node's box
	local calls=${CLUSTER_SHARED-} call status input output
	[[ $calls ]] || calls=$(shared_outside)
	[[ -p $calls/$1 ]] || die "there is no node $1"
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
	ask "$1" enter "${@:2}"
}
