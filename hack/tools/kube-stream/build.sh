# a client of the streaming server that behaves as kubectl does
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/" .
