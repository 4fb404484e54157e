package fault

import "strconv"

// Code is one kind of error. It has Kafka's number if Kafka has the error, and
// a number from 10000 up if only Runnel has it. Codes are comparable errors, so
//
//	errors.Is(err, fault.UnknownTopic)
//
// works for every error of this module, however deeply it is wrapped.
type Code int16

// Errors that Kafka has too, under Kafka's numbers.
const (
	Unknown                  Code = -1
	OffsetOutOfRange         Code = 1
	CorruptMessage           Code = 2
	UnknownTopic             Code = 3
	LeaderNotAvailable       Code = 5
	NotLeader                Code = 6
	TimedOut                 Code = 7
	RecordTooLarge           Code = 10
	OffsetMetadataTooLarge   Code = 12
	NetworkException         Code = 13
	CoordinatorLoading       Code = 14
	CoordinatorNotAvailable  Code = 15
	NotCoordinator           Code = 16
	InvalidTopic             Code = 17
	RecordListTooLarge       Code = 18
	NotEnoughReplicas        Code = 19
	IllegalGeneration        Code = 22
	InconsistentProtocol     Code = 23
	InvalidGroup             Code = 24
	UnknownMember            Code = 25
	InvalidSessionTimeout    Code = 26
	RebalanceInProgress      Code = 27
	TopicAuthorization       Code = 29
	GroupAuthorization       Code = 30
	ClusterAuthorization     Code = 31
	InvalidTimestamp         Code = 32
	UnsupportedVersion       Code = 35
	TopicExists              Code = 36
	InvalidPartitions        Code = 37
	InvalidReplication       Code = 38
	InvalidConfig            Code = 40
	InvalidRequest           Code = 42
	PolicyViolation          Code = 44
	OutOfOrderSequence       Code = 45
	DuplicateSequence        Code = 46
	InvalidProducerEpoch     Code = 47
	InvalidTxnState          Code = 48
	InvalidProducerID        Code = 49
	InvalidTxnTimeout        Code = 50
	ConcurrentTransactions   Code = 51
	CoordinatorFenced        Code = 52
	Storage                  Code = 56
	SaslAuthentication       Code = 58
	UnknownProducer          Code = 59
	NonEmptyGroup            Code = 68
	GroupNotFound            Code = 69
	FencedLeaderEpoch        Code = 74
	UnknownLeaderEpoch       Code = 75
	UnsupportedCompression   Code = 76
	MemberIDRequired         Code = 79
	GroupMaxSizeReached      Code = 81
	FencedInstance           Code = 82
	GroupSubscribedToTopic   Code = 86
	InvalidRecord            Code = 87
	UnstableOffsetCommit     Code = 88
	ProducerFenced           Code = 90
	TransactionalIDNotFound  Code = 105
	UnknownTopicID           Code = 100
	DuplicateBroker          Code = 101
	InconsistentClusterID    Code = 104
	FencedMemberEpoch        Code = 110
	UnreleasedInstance       Code = 111
	UnsupportedAssignor      Code = 112
	StaleMemberEpoch         Code = 113
	InvalidRecordState       Code = 121
	InvalidVoterKey          Code = 125
	InvalidRegularExpression Code = 128
)

// Errors that only Runnel has.
const (
	Closed             Code = 10000
	Locked             Code = 10001
	UnknownOutcome     Code = 10002
	DiskFull           Code = 10003
	UnsupportedFormat  Code = 10004
	BufferFull         Code = 10005
	Serialization      Code = 10006
	NotAssigned        Code = 10007
	PermissionDenied   Code = 10008
	Undecodable        Code = 10009
	ExpandsTooFar      Code = 10010
	InvalidAssignment  Code = 10011
	PreconditionFailed Code = 10012
)

// entry is a row of table.
type entry struct {
	name      string
	retriable bool
	text      string
}

// table holds every code once: Kafka's name, whether a repeated call may
// succeed, and one sentence.
var table = map[Code]entry{
	Unknown:                  {"UNKNOWN_SERVER_ERROR", false, "an unexpected error"},
	OffsetOutOfRange:         {"OFFSET_OUT_OF_RANGE", false, "the offset is outside the range that the partition holds"},
	CorruptMessage:           {"CORRUPT_MESSAGE", true, "the bytes do not match their checksum or their format"},
	UnknownTopic:             {"UNKNOWN_TOPIC_OR_PARTITION", true, "there is no such topic or partition"},
	LeaderNotAvailable:       {"LEADER_NOT_AVAILABLE", true, "the partition has no leader at the moment"},
	NotLeader:                {"NOT_LEADER_OR_FOLLOWER", true, "this replica does not lead the partition"},
	TimedOut:                 {"REQUEST_TIMED_OUT", true, "the time allowed is over"},
	RecordTooLarge:           {"MESSAGE_TOO_LARGE", false, "the record is larger than max.message.bytes"},
	OffsetMetadataTooLarge:   {"OFFSET_METADATA_TOO_LARGE", false, "the metadata beside a committed offset is too long"},
	NetworkException:         {"NETWORK_EXCEPTION", true, "the connection broke before an answer came"},
	CoordinatorLoading:       {"COORDINATOR_LOAD_IN_PROGRESS", true, "the coordinator is reading its log"},
	CoordinatorNotAvailable:  {"COORDINATOR_NOT_AVAILABLE", true, "the group has no coordinator at the moment"},
	NotCoordinator:           {"NOT_COORDINATOR", true, "this is not the group's coordinator"},
	InvalidTopic:             {"INVALID_TOPIC_EXCEPTION", false, "the topic's name is not valid"},
	RecordListTooLarge:       {"RECORD_LIST_TOO_LARGE", false, "the batch is larger than a segment may be"},
	NotEnoughReplicas:        {"NOT_ENOUGH_REPLICAS", true, "fewer replicas are in sync than the topic requires"},
	IllegalGeneration:        {"ILLEGAL_GENERATION", false, "the member speaks of a past generation of its group"},
	InconsistentProtocol:     {"INCONSISTENT_GROUP_PROTOCOL", false, "the member's protocol differs from its group's"},
	InvalidGroup:             {"INVALID_GROUP_ID", false, "the group's name is not valid"},
	UnknownMember:            {"UNKNOWN_MEMBER_ID", false, "the group does not know this member"},
	InvalidSessionTimeout:    {"INVALID_SESSION_TIMEOUT", false, "the session timeout is outside the allowed range"},
	RebalanceInProgress:      {"REBALANCE_IN_PROGRESS", false, "the group is changing its assignment"},
	TopicAuthorization:       {"TOPIC_AUTHORIZATION_FAILED", false, "the cluster does not allow this on the topic"},
	GroupAuthorization:       {"GROUP_AUTHORIZATION_FAILED", false, "the cluster does not allow this on the group"},
	ClusterAuthorization:     {"CLUSTER_AUTHORIZATION_FAILED", false, "the cluster does not allow this"},
	InvalidTimestamp:         {"INVALID_TIMESTAMP", false, "the record's timestamp is out of the allowed range"},
	UnsupportedVersion:       {"UNSUPPORTED_VERSION", false, "the two sides speak different versions of the protocol"},
	TopicExists:              {"TOPIC_ALREADY_EXISTS", false, "a topic of this name exists already"},
	InvalidPartitions:        {"INVALID_PARTITIONS", false, "the number of partitions is not valid"},
	InvalidReplication:       {"INVALID_REPLICATION_FACTOR", false, "the replication factor is not valid here"},
	InvalidConfig:            {"INVALID_CONFIG", false, "the configuration is not valid"},
	InvalidRequest:           {"INVALID_REQUEST", false, "the call contradicts itself"},
	PolicyViolation:          {"POLICY_VIOLATION", false, "a policy forbids this"},
	OutOfOrderSequence:       {"OUT_OF_ORDER_SEQUENCE_NUMBER", false, "the producer's sequence has a gap"},
	DuplicateSequence:        {"DUPLICATE_SEQUENCE_NUMBER", false, "the producer's sequence was written already"},
	InvalidProducerEpoch:     {"INVALID_PRODUCER_EPOCH", false, "the producer's epoch is older than the partition's"},
	InvalidTxnState:          {"INVALID_TXN_STATE", false, "the transaction's state does not allow this"},
	InvalidProducerID:        {"INVALID_PRODUCER_ID_MAPPING", false, "the producer's ID is not the one that its transactional ID has"},
	InvalidTxnTimeout:        {"INVALID_TRANSACTION_TIMEOUT", false, "the transaction timeout is outside the allowed range"},
	ConcurrentTransactions:   {"CONCURRENT_TRANSACTIONS", true, "the transaction before this one is still being ended"},
	CoordinatorFenced:        {"TRANSACTION_COORDINATOR_FENCED", false, "a newer coordinator has taken over the transaction"},
	Storage:                  {"KAFKA_STORAGE_ERROR", true, "the partition's storage has failed"},
	SaslAuthentication:       {"SASL_AUTHENTICATION_FAILED", false, "the cluster does not accept the credentials"},
	UnknownProducer:          {"UNKNOWN_PRODUCER_ID", false, "the partition no longer knows this producer"},
	NonEmptyGroup:            {"NON_EMPTY_GROUP", false, "the group still has members"},
	GroupNotFound:            {"GROUP_ID_NOT_FOUND", false, "there is no such group"},
	FencedLeaderEpoch:        {"FENCED_LEADER_EPOCH", true, "the leader epoch is older than the partition's"},
	UnknownLeaderEpoch:       {"UNKNOWN_LEADER_EPOCH", true, "the leader epoch is newer than the partition's"},
	UnsupportedCompression:   {"UNSUPPORTED_COMPRESSION_TYPE", false, "the compression is not one of none, gzip, snappy, lz4, zstd"},
	MemberIDRequired:         {"MEMBER_ID_REQUIRED", false, "a new member must join with the ID that it was given"},
	GroupMaxSizeReached:      {"GROUP_MAX_SIZE_REACHED", false, "the group has as many members as it may have"},
	FencedInstance:           {"FENCED_INSTANCE_ID", false, "another member took over this static member's place"},
	GroupSubscribedToTopic:   {"GROUP_SUBSCRIBED_TO_TOPIC", false, "a member of the group subscribes to the topic"},
	InvalidRecord:            {"INVALID_RECORD", false, "the record or batch breaks a rule of the topic or the format"},
	UnstableOffsetCommit:     {"UNSTABLE_OFFSET_COMMIT", true, "the group's offsets are part of an open transaction"},
	ProducerFenced:           {"PRODUCER_FENCED", false, "a newer producer took over this transactional identity"},
	TransactionalIDNotFound:  {"TRANSACTIONAL_ID_NOT_FOUND", false, "there is no transaction of this transactional ID"},
	UnknownTopicID:           {"UNKNOWN_TOPIC_ID", true, "there is no topic with this ID"},
	DuplicateBroker:          {"DUPLICATE_BROKER_REGISTRATION", false, "another process is this node already"},
	InconsistentClusterID:    {"INCONSISTENT_CLUSTER_ID", false, "the two nodes belong to different clusters"},
	FencedMemberEpoch:        {"FENCED_MEMBER_EPOCH", false, "the group moved on without this member, which must join again"},
	UnreleasedInstance:       {"UNRELEASED_INSTANCE_ID", false, "the static member's place is still taken"},
	UnsupportedAssignor:      {"UNSUPPORTED_ASSIGNOR", false, "the group does not know this assignor"},
	StaleMemberEpoch:         {"STALE_MEMBER_EPOCH", false, "the member has not yet heard of its newest assignment"},
	InvalidRecordState:       {"INVALID_RECORD_STATE", false, "the record is not, or no longer, acquired by this member of the share group"},
	InvalidVoterKey:          {"INVALID_VOTER_KEY", false, "another node answers at the address"},
	InvalidRegularExpression: {"INVALID_REGULAR_EXPRESSION", false, "the regular expression is not valid"},

	Closed:             {"CLOSED", false, "it is closed"},
	Locked:             {"LOCKED", false, "another process holds the data directory"},
	UnknownOutcome:     {"UNKNOWN_OUTCOME", true, "the record may or may not have been written"},
	DiskFull:           {"DISK_FULL", true, "there is no space left on the disk"},
	UnsupportedFormat:  {"UNSUPPORTED_FORMAT", false, "the files were written by a newer or foreign program"},
	BufferFull:         {"BUFFER_FULL", true, "the producer's buffer is full"},
	Serialization:      {"SERIALIZATION", false, "the bytes are not what the serde expects"},
	NotAssigned:        {"NOT_ASSIGNED", false, "the partition is not assigned to this consumer"},
	PermissionDenied:   {"PERMISSION_DENIED", false, "the operating system does not let this process do that"},
	Undecodable:        {"UNDECODABLE", false, "the batch is as it was written, and its records cannot be decoded"},
	ExpandsTooFar:      {"EXPANDS_TOO_FAR", false, "the batch expands to more bytes than are allowed here"},
	PreconditionFailed: {"PRECONDITION_FAILED", false, "what is there is not what the append demands"},
	InvalidAssignment:  {"INVALID_ASSIGNMENT", false, "the group's assignor gave no valid assignment"},
}

// Error returns the code's sentence.
func (c Code) Error() string {
	if e, ok := table[c]; ok {
		return e.text
	}
	return "error code " + strconv.Itoa(int(c))
}

// Name returns the code's name in Kafka's spelling, such as
// UNKNOWN_TOPIC_OR_PARTITION.
func (c Code) Name() string {
	if e, ok := table[c]; ok {
		return e.name
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// Retriable reports whether a repeated call may succeed; for Kafka's errors, as
// Kafka's client has it. It is false for errors of a member that has fallen
// behind its group (RebalanceInProgress, StaleMemberEpoch), because the member
// has to fetch first.
func (c Code) Retriable() bool { return table[c].retriable }

// Known reports whether the table has the code.
func (c Code) Known() bool {
	_, ok := table[c]
	return ok
}
