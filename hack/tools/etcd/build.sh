# etcd
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/etcd" go.etcd.io/etcd/server/v3
