# containerd, its runc shim and ctr
CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags 'no_btrfs no_devmapper no_zfs' \
	-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.2.0" -o "$1/" tool
