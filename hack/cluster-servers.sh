# Part of hack/cluster, which sources it: the servers of a node, and their certificates.
# shellcheck shell=bash disable=SC2154,SC2086 # variables are set by hack/cluster, and have no spaces

# ---- starting and stopping servers ----

# launch NAME CMD...: starts a server that keeps running when this script exits.
launch() {
	local name=$1
	shift
	setsid "$@" </dev/null >>"$logs/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
}
runs() { # runs NAME
	local pid
	pid=$(cat "$dir/$1.pid" 2>/dev/null) && [[ -e /proc/$pid/exe ]] # a zombie has no exe
}
# ready NAME TEST...: waits until the server just launched passes the test.
ready() {
	local name=$1
	shift
	wait_for 60 "$name (see $logs/$name.log)" passes_or_died "$name" "$@"
	runs "$name" || die "$name exited:"$'\n'"$(tail -5 "$logs/$name.log")"
}
passes_or_died() {
	local name=$1
	shift
	"$@" || ! runs "$name"
}
end_with() { # end_with SIGNAL NAME
	runs "$2" || return 0
	kill -s "$1" "$(cat "$dir/$2.pid")"
	wait_for 60 "$2 to exit" ended "$2"
}
ended() { ! runs "$1"; }

api() { # api PATH [CURL-ARG...]: a request to the API server with admin credentials
	curl -sf --cacert $dir/ca.crt --cert $dir/admin.crt --key $dir/admin.key "$APISERVER$1" "${@:2}"
}

# ---- certificates ----

# certificate NAME SUBJECT USAGE [HOSTS]: makes NAME.key and NAME.crt, signed by the CA.
certificate() {
	local more=()
	[[ ! ${4-} ]] || more=(-addext "subjectAltName=$4")
	openssl_cert "$1" -CA $dir/ca.crt -CAkey $dir/ca.key -subj "$2" -addext "extendedKeyUsage=$3" "${more[@]}"
}
openssl_cert() {
	openssl req -x509 -config $dir/openssl.conf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-keyout "$dir/$1.key" -out "$dir/$1.crt" "${@:2}" 2>$dir/openssl.log || die "openssl: $(cat $dir/openssl.log)"
}
kubeconfig() { # kubeconfig NAME: writes NAME.kubeconfig, with NAME.crt as the client certificate
	cat >"$dir/$1.kubeconfig" <<-EOF
		apiVersion: v1
		kind: Config
		clusters: [{name: dockside, cluster: {server: "$APISERVER", certificate-authority: $dir/ca.crt}}]
		users: [{name: $1, user: {client-certificate: $dir/$1.crt, client-key: $dir/$1.key}}]
		contexts: [{name: dockside, context: {cluster: dockside, user: $1}}]
		current-context: dockside
	EOF
}

make_identities() {
	printf '[req]\ndistinguished_name = dn\n[dn]\n' >$dir/openssl.conf # the system's default adds extensions
	openssl_cert ca -subj /CN=dockside-cluster -addext basicConstraints=critical,CA:TRUE \
		-addext keyUsage=critical,keyCertSign,cRLSign
	certificate apiserver /CN=kube-apiserver serverAuth \
		"IP:127.0.0.1,IP:$node_ip,IP:${service_cidr%.*}.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
	certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver clientAuth
	certificate admin /O=system:masters/CN=admin clientAuth
	certificate kube-controller-manager /CN=system:kube-controller-manager clientAuth
	certificate kube-scheduler /CN=system:kube-scheduler clientAuth
	openssl ecparam -name prime256v1 -genkey -noout -out $dir/service-accounts.key
	kubeconfig kube-controller-manager
	kubeconfig kube-scheduler
	local number
	for ((number = 1; number <= nodes; number++)); do
		node_certificates "$(node_name $number)" "$(node_address $number)"
	done
}
node_certificates() { # node_certificates NODE ADDRESS: the kubelet's client and server certificates
	certificate "node-$1" "/O=system:nodes/CN=system:node:$1" clientAuth
	certificate "kubelet-$1" "/CN=$1" serverAuth "DNS:$1,IP:$2"
}

# ---- the servers: start_NAME for each ----

start_etcd() {
	launch etcd etcd --data-dir $dir/etcd --unsafe-no-fsync --log-level warn \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:0
	ready etcd curl -sf http://127.0.0.1:2379/health
}

start_kube-apiserver() {
	launch kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
		--secure-port=6443 --advertise-address="$node_ip" --service-cluster-ip-range=$service_cidr \
		--tls-cert-file=$dir/apiserver.crt --tls-private-key-file=$dir/apiserver.key --client-ca-file=$dir/ca.crt \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-signing-key-file=$dir/service-accounts.key \
		--service-account-key-file=$dir/service-accounts.key \
		--kubelet-client-certificate=$dir/apiserver-kubelet.crt --kubelet-client-key=$dir/apiserver-kubelet.key \
		--kubelet-certificate-authority=$dir/ca.crt --kubelet-preferred-address-types=InternalIP \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
		${APISERVER_FLAGS-}
	ready kube-apiserver api /readyz
}

# Each controller uses its own service account: the controller manager's certificate alone does not have all permissions.
# Requesting their tokens at the default 20 requests/s would delay the start by five seconds.
start_kube-controller-manager() {
	launch kube-controller-manager kube-controller-manager --kubeconfig=$dir/kube-controller-manager.kubeconfig \
		--use-service-account-credentials=true --service-account-private-key-file=$dir/service-accounts.key \
		--root-ca-file=$dir/ca.crt --allocate-node-cidrs=true --cluster-cidr=$pod_cidr --leader-elect=false \
		--bind-address=127.0.0.1 --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins --node-monitor-period=1s \
		--kube-api-qps=500 --kube-api-burst=500
	ready kube-controller-manager curl -skf https://127.0.0.1:10257/healthz
}

start_kube-scheduler() {
	launch kube-scheduler kube-scheduler --kubeconfig=$dir/kube-scheduler.kubeconfig --leader-elect=false \
		--bind-address=127.0.0.1
	ready kube-scheduler curl -skf https://127.0.0.1:10259/healthz
}

start_dockside() {
	[[ -x $dockside ]] || die "$dockside does not exist: run cargo build, or set DOCKSIDE_BIN"
	# no --pod-cidr: it comes from the kubelet
	launch dockside "$dockside" serve --log-level debug ${DOCKSIDE_FLAGS-}
	ready dockside curl -s --http2-prior-knowledge --unix-socket $socket http://localhost/
}

start_kubelet() {
	fake_sysctls
	mkdir -p $manifests
	kubelet_config >$dir/kubelet.yaml
	launch kubelet kubelet --config=$dir/kubelet.yaml --kubeconfig=$dir/node-$NODE.kubeconfig --hostname-override="$NODE" \
		--node-ip="$node_ip" --root-dir=/var/lib/kubelet -v=4 ${KUBELET_FLAGS-}
	ready kubelet curl -sf http://127.0.0.1:10248/healthz
}

# The kubelet sets these sysctls, and refuses to start if it cannot. They are global to the machine, which a box must not
# change: bind mounts show the kubelet the values that it expects.
fake_sysctls() {
	local setting file value
	for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
		kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
		file=/proc/sys/${setting%=*} value=${setting#*=}
		[[ -e $file && $(cat "$file") != "$value" ]] || continue
		mkdir -p "$dir/sys/$(dirname "${setting%=*}")"
		echo "$value" >"$dir/sys/${setting%=*}"
		mount --bind "$dir/sys/${setting%=*}" "$file"
	done
}

# clusterDNS is the node, where no server listens: lookups fail at once instead of timing out. Logs rotate early and are
# checked often, so that tests see rotations. Eviction thresholds are low, because the machine's disk may be nearly full.
kubelet_config() {
	cat <<-EOF
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		containerRuntimeEndpoint: unix://$socket
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/ca.crt}}
		authorization: {mode: Webhook}
		tlsCertFile: $dir/kubelet-$NODE.crt
		tlsPrivateKeyFile: $dir/kubelet-$NODE.key
		cgroupDriver: cgroupfs
		failCgroupV1: false
		failSwapOn: false
		staticPodPath: $manifests
		volumePluginDir: /var/lib/kubelet/volume-plugins
		clusterDomain: cluster.local
		clusterDNS: ["$node_ip"]
		serializeImagePulls: false
		containerLogMaxSize: 1Mi
		containerLogMonitorInterval: 3s
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
		imageGCHighThresholdPercent: 99
		imageGCLowThresholdPercent: 98
	EOF
}
