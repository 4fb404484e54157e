module github.com/runnel-go/runnel/cmd/runnel

go 1.26.0

require (
	github.com/runnel-go/runnel v0.0.0-00010101000000-000000000000
	github.com/runnel-go/runnel/kafka v0.0.0-00010101000000-000000000000
)

replace (
	github.com/runnel-go/runnel => ../../
	github.com/runnel-go/runnel/kafka => ../../kafka
)
