# random scheduling cases, and kube-scheduler's own answers to them
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # the version decides which features are on
	flags+=" -X $package.gitVersion=v1.34.2 -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
done
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$1/" .
