# cri-dockerd
CGO_ENABLED=0 go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X github.com/Mirantis/cri-dockerd/cmd/version.Version=0.4.3" -o "$1/" tool
