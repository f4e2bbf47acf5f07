# drives schedulers through a workload, measures them and checks what they did
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/" .
