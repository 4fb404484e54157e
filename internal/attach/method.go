package attach

// method identifies the method of a call. Numbers belong to a version of the
// protocol.
type method int8

const (
	createTopics method = iota + 1
	deleteTopics
	listTopics
	describeTopics
	addPartitions
	configureTopic
	deleteRecords
	listOffsets

	listGroups
	describeGroups
	deleteGroups
	groupOffsets
	setGroupOffsets

	verify

	openProducer
	openTopic
	flush

	openConsumer
	fetch
	assign
	assignment
	seek
	position
	pause
	resume
	commit
	committed
	offsets
	closeConsumer

	streamBytes

	describeCluster

	deleteGroupOffsets
	beginTransaction
	endTransaction
	sendOffsets
	groupMetadata

	sendIf

	listTransactions
	describeTransactions
	describeProducers
	forceTerminateTransaction
	abortTransaction

	readKey

	openShare
	acquire
	settle
	closeShare
	listShareGroups
	describeShareGroup
	deleteShareGroup
	deleteShareGroupOffsets
	resetShareGroup
)

func (c *coder) method(m *method) { int8s(c, m) }
