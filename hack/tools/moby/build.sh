# dockerd and docker-proxy
CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags 'exclude_graphdriver_btrfs no_systemd' \
	-ldflags "-s -w -X github.com/moby/moby/v2/dockerversion.Version=2.0.0-beta.24" -o "$1/" tool
