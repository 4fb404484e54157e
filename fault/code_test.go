package fault_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/runnel-go/runnel/fault"
)

// kafkaErrors is what Kafka's class Errors, and the exceptions of its
// constants, say about the errors that this package has too.
var kafkaErrors = []struct {
	code      fault.Code
	number    int16
	name      string
	retriable bool
}{
	{fault.Unknown, -1, "UNKNOWN_SERVER_ERROR", false},
	{fault.OffsetOutOfRange, 1, "OFFSET_OUT_OF_RANGE", false},
	{fault.CorruptMessage, 2, "CORRUPT_MESSAGE", true},
	{fault.UnknownTopic, 3, "UNKNOWN_TOPIC_OR_PARTITION", true},
	{fault.LeaderNotAvailable, 5, "LEADER_NOT_AVAILABLE", true},
	{fault.NotLeader, 6, "NOT_LEADER_OR_FOLLOWER", true},
	{fault.TimedOut, 7, "REQUEST_TIMED_OUT", true},
	{fault.RecordTooLarge, 10, "MESSAGE_TOO_LARGE", false},
	{fault.OffsetMetadataTooLarge, 12, "OFFSET_METADATA_TOO_LARGE", false},
	{fault.NetworkException, 13, "NETWORK_EXCEPTION", true},
	{fault.CoordinatorLoading, 14, "COORDINATOR_LOAD_IN_PROGRESS", true},
	{fault.CoordinatorNotAvailable, 15, "COORDINATOR_NOT_AVAILABLE", true},
	{fault.NotCoordinator, 16, "NOT_COORDINATOR", true},
	{fault.InvalidTopic, 17, "INVALID_TOPIC_EXCEPTION", false},
	{fault.RecordListTooLarge, 18, "RECORD_LIST_TOO_LARGE", false},
	{fault.NotEnoughReplicas, 19, "NOT_ENOUGH_REPLICAS", true},
	{fault.IllegalGeneration, 22, "ILLEGAL_GENERATION", false},
	{fault.InconsistentProtocol, 23, "INCONSISTENT_GROUP_PROTOCOL", false},
	{fault.InvalidGroup, 24, "INVALID_GROUP_ID", false},
	{fault.UnknownMember, 25, "UNKNOWN_MEMBER_ID", false},
	{fault.InvalidSessionTimeout, 26, "INVALID_SESSION_TIMEOUT", false},
	{fault.RebalanceInProgress, 27, "REBALANCE_IN_PROGRESS", false},
	{fault.TopicAuthorization, 29, "TOPIC_AUTHORIZATION_FAILED", false},
	{fault.GroupAuthorization, 30, "GROUP_AUTHORIZATION_FAILED", false},
	{fault.ClusterAuthorization, 31, "CLUSTER_AUTHORIZATION_FAILED", false},
	{fault.InvalidTimestamp, 32, "INVALID_TIMESTAMP", false},
	{fault.UnsupportedVersion, 35, "UNSUPPORTED_VERSION", false},
	{fault.TopicExists, 36, "TOPIC_ALREADY_EXISTS", false},
	{fault.InvalidPartitions, 37, "INVALID_PARTITIONS", false},
	{fault.InvalidReplication, 38, "INVALID_REPLICATION_FACTOR", false},
	{fault.InvalidConfig, 40, "INVALID_CONFIG", false},
	{fault.InvalidRequest, 42, "INVALID_REQUEST", false},
	{fault.PolicyViolation, 44, "POLICY_VIOLATION", false},
	{fault.OutOfOrderSequence, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false},
	{fault.DuplicateSequence, 46, "DUPLICATE_SEQUENCE_NUMBER", false},
	{fault.InvalidProducerEpoch, 47, "INVALID_PRODUCER_EPOCH", false},
	{fault.InvalidTxnState, 48, "INVALID_TXN_STATE", false},
	{fault.InvalidProducerID, 49, "INVALID_PRODUCER_ID_MAPPING", false},
	{fault.InvalidTxnTimeout, 50, "INVALID_TRANSACTION_TIMEOUT", false},
	{fault.ConcurrentTransactions, 51, "CONCURRENT_TRANSACTIONS", true},
	{fault.CoordinatorFenced, 52, "TRANSACTION_COORDINATOR_FENCED", false},
	{fault.Storage, 56, "KAFKA_STORAGE_ERROR", true},
	{fault.SaslAuthentication, 58, "SASL_AUTHENTICATION_FAILED", false},
	{fault.UnknownProducer, 59, "UNKNOWN_PRODUCER_ID", false},
	{fault.NonEmptyGroup, 68, "NON_EMPTY_GROUP", false},
	{fault.GroupNotFound, 69, "GROUP_ID_NOT_FOUND", false},
	{fault.FencedLeaderEpoch, 74, "FENCED_LEADER_EPOCH", true},
	{fault.UnknownLeaderEpoch, 75, "UNKNOWN_LEADER_EPOCH", true},
	{fault.UnsupportedCompression, 76, "UNSUPPORTED_COMPRESSION_TYPE", false},
	{fault.MemberIDRequired, 79, "MEMBER_ID_REQUIRED", false},
	{fault.GroupMaxSizeReached, 81, "GROUP_MAX_SIZE_REACHED", false},
	{fault.FencedInstance, 82, "FENCED_INSTANCE_ID", false},
	{fault.GroupSubscribedToTopic, 86, "GROUP_SUBSCRIBED_TO_TOPIC", false},
	{fault.InvalidRecord, 87, "INVALID_RECORD", false},
	{fault.UnstableOffsetCommit, 88, "UNSTABLE_OFFSET_COMMIT", true},
	{fault.ProducerFenced, 90, "PRODUCER_FENCED", false},
	{fault.TransactionalIDNotFound, 105, "TRANSACTIONAL_ID_NOT_FOUND", false},
	{fault.UnknownTopicID, 100, "UNKNOWN_TOPIC_ID", true},
	{fault.DuplicateBroker, 101, "DUPLICATE_BROKER_REGISTRATION", false},
	{fault.InconsistentClusterID, 104, "INCONSISTENT_CLUSTER_ID", false},
	{fault.FencedMemberEpoch, 110, "FENCED_MEMBER_EPOCH", false},
	{fault.UnreleasedInstance, 111, "UNRELEASED_INSTANCE_ID", false},
	{fault.UnsupportedAssignor, 112, "UNSUPPORTED_ASSIGNOR", false},
	{fault.StaleMemberEpoch, 113, "STALE_MEMBER_EPOCH", false},
	{fault.InvalidRecordState, 121, "INVALID_RECORD_STATE", false},
	{fault.InvalidVoterKey, 125, "INVALID_VOTER_KEY", false},
	{fault.InvalidRegularExpression, 128, "INVALID_REGULAR_EXPRESSION", false},
}

func TestCodesAreKafkas(t *testing.T) {
	for _, want := range kafkaErrors {
		require.Equal(t, want.number, int16(want.code), want.name)
		require.Equal(t, want.name, want.code.Name())
		require.Equal(t, want.retriable, want.code.Retriable(), want.name)
	}
}

// declaredCodes returns the names of the constants of type Code, from the source.
func declaredCodes(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
				names = append(names, spec.Names[0].Name)
			}
		}
		return true
	})
	return names
}

// own are the codes that Kafka doesn't have.
var own = []fault.Code{
	fault.Closed, fault.Locked, fault.UnknownOutcome, fault.DiskFull,
	fault.UnsupportedFormat, fault.BufferFull, fault.Serialization, fault.NotAssigned,
	fault.PermissionDenied,
	fault.Undecodable, fault.ExpandsTooFar, fault.InvalidAssignment, fault.PreconditionFailed,
}

func TestEveryCodeIsInTheTable(t *testing.T) {
	declared := declaredCodes(t)
	require.Len(t, declared, len(kafkaErrors)+len(own), "a code that these tests don't know")
	sentences := map[string]fault.Code{}
	check := func(c fault.Code) {
		require.True(t, c.Known(), c.Name())
		require.Equal(t, strings.ToUpper(c.Name()), c.Name())
		text := c.Error()
		require.NotContains(t, sentences, text, "two codes with one sentence")
		sentences[text] = c
		require.True(t, unicode.IsLower(rune(text[0])), "%q begins in the middle of a message", text)
		require.False(t, strings.HasSuffix(text, "."), "%q goes on in a message", text)
	}
	for _, e := range kafkaErrors {
		check(e.code)
	}
	for _, c := range own {
		require.GreaterOrEqual(t, int16(c), int16(10000))
		check(c)
	}
}

func TestUnknownCode(t *testing.T) {
	c := fault.Code(12345)
	require.False(t, c.Known())
	require.False(t, c.Retriable())
	require.Equal(t, "CODE_12345", c.Name())
	require.Equal(t, "error code 12345", c.Error())
	require.Equal(t, c, fault.CodeOf(errors.Join(errors.New("from a newer broker"), c)))
}
