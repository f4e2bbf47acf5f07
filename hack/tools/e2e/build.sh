# e2e.test, Kubernetes' own tests of a cluster; ginkgo, which runs several of it side by side; agnhost, which runs in most
# of their pods, with the certificate it shows there
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do # unstamped they say v0.0.0, and believe it
	flags+=" -X $package.gitVersion=v1.34.2 -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
done
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/" \
	github.com/onsi/ginkgo/v2/ginkgo k8s.io/kubernetes/test/images/agnhost
go test -c -trimpath -buildvcs=false -ldflags "$flags" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e
install -m 644 "$(go list -f '{{.Dir}}' k8s.io/kubernetes/test/images/agnhost/porter)"/localhost.{crt,key} "$1/"
