# crictl and critest (critest exists only as a test binary)
version="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=1.37.0"
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -ldflags "$version" -o "$1/" sigs.k8s.io/cri-tools/cmd/crictl
go test -c -trimpath -buildvcs=false -ldflags "$version" -o "$1/critest" sigs.k8s.io/cri-tools/cmd/critest
# for critest -parallel
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/" github.com/onsi/ginkgo/v2/ginkgo
