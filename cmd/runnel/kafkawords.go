package main

import (
	"cmp"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-go/runnel/kafka"
)

// inOurWords answers a command line in the style of Kafka's tools with the
// runnel command that does the same.
func inOurWords(args []string, err error) error {
	ours, ok := translate(args)
	if !ok {
		return err
	}
	text := err.Error()
	if h, ok := errors.AsType[hinted](err); ok {
		text = h.error.Error()
	}
	return usageError{hinted{errors.New(text), "use: " + ours}}
}

// kafkaLine is a parsed command line of Kafka's.
type kafkaLine struct {
	flags map[string][]string // by name, with their values
	words []string            // arguments that are not flags

	kafkas bool // the tool has a Kafka name, or a cluster is given as for Kafka's tools
}

// switches are the flags of Kafka's tools that take no value.
var switches = []string{
	"create", "describe", "list", "delete", "delete-offsets", "alter", "if-not-exists", "if-exists", "from-beginning", "reset-offsets", "all-groups", "all-topics",
	"to-earliest", "to-latest", "to-current", "dry-run", "execute", "members", "state", "verbose", "offsets", "sync", "print-data-log", "deep-iteration",
	"skip-message-on-error", "json", "table", "follow", "yes", "under-replicated-partitions", "unavailable-partitions",
}

// takeApart separates flags, their values, and other words.
func takeApart(args []string) kafkaLine {
	l := kafkaLine{flags: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			if short := map[string]string{"-n": "count", "-c": "config", "-p": "partitions"}[args[i]]; short != "" && i+1 < len(args) {
				l.flags[short] = append(l.flags[short], args[i+1])
				i++
			} else if !strings.HasPrefix(args[i], "-") {
				l.words = append(l.words, args[i])
			}
			continue
		}
		name, value, has := strings.Cut(name, "=")
		if !has && !slices.Contains(switches, name) && i+1 < len(args) {
			i++
			value = args[i]
		}
		l.flags[name] = append(l.flags[name], value)
	}
	return l
}

func (l kafkaLine) has(name string) bool { return len(l.flags[name]) > 0 }

// first returns the first value of the first of these flags that was given.
func (l kafkaLine) first(names ...string) string {
	for _, n := range names {
		if l.has(n) {
			return l.flags[n][0]
		}
	}
	return ""
}

// property returns the value that --property, or a similar flag, gives a name.
func (l kafkaLine) property(name string) (value string, ok bool) {
	for _, flag := range []string{"property", "reader-property", "formatter-property", "producer-property", "command-property"} {
		for _, p := range l.flags[flag] {
			for part := range strings.SplitSeq(p, ",") {
				if k, v, _ := strings.Cut(part, "="); k == name {
					value, ok = v, true
				}
			}
		}
	}
	return value, ok
}

// line is a runnel command line under construction.
type line []string

func (l *line) add(words ...string) {
	for _, w := range words {
		*l = append(*l, shellQuoted(w))
	}
}

// flag adds a flag with a value, unless the value is empty.
func (l *line) flag(name, value string) {
	if value != "" {
		l.add(name, value)
	}
}

// tools maps the names of Kafka's tools and of runnel's commands to what they
// do.
var tools = map[string]string{
	"topic": "topic", "topics": "topic", "produce": "produce", "producer": "produce", "console-producer": "produce",
	"consume": "consume", "consumer": "consume", "console-consumer": "consume",
	"transaction": "transaction", "transactions": "transaction",
	"group": "group", "groups": "group", "consumer-groups": "group", "consumer-group": "group",
	"share": "share", "share-groups": "share", "share-group": "share",
	"configs": "configs", "config": "configs", "delete-records": "delete-records", "get-offsets": "offsets", "dump-log": "dump",
	"run-class": "",
}

// kafkaFlags are flags that only Kafka's tools have. One of them shows that the
// command line is in their style.
var kafkaFlags = []string{
	"bootstrap-server", "broker-list", "zookeeper", "topic", "from-beginning", "max-messages", "timeout-ms", "property", "replication-factor", "create", "describe",
	"list", "delete", "alter", "add-config", "delete-config", "entity-type", "entity-name", "reset-offsets", "to-earliest", "to-latest", "to-offset", "to-datetime",
	"shift-by", "by-duration", "execute", "delete-offsets", "all-groups", "all-topics", "compression-codec", "request-required-acks", "producer-property", "consumer-property", "offset",
	"transactional-id", "start-offset", "files", "print-data-log", "offset-json-file", "if-exists", "whitelist", "include", "partitions", "isolation-level",
}

// translate returns the runnel command line that does what a Kafka command line
// asks for.
func translate(args []string) (string, bool) {
	l := takeApart(args)
	if len(l.words) == 0 {
		return "", false
	}
	name := path.Base(strings.ReplaceAll(l.words[0], `\`, "/"))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".sh"), ".bat")
	short, isKafka := strings.CutPrefix(name, "kafka-")
	tool, known := tools[short]
	if !known {
		return "", false
	}
	l.words, l.kafkas = l.words[1:], isKafka || l.has("bootstrap-server") || l.has("broker-list")
	if !isKafka && !slices.ContainsFunc(kafkaFlags, l.has) && short == tool {
		return "", false // runnel's own, with another mistake
	}
	out := line{"runnel"}
	ok := map[string]func(kafkaLine, *line) bool{
		"topic": topicWords, "produce": produceWords, "consume": consumeWords, "group": groupWords, "share": shareWords, "transaction": transactionWords, "configs": configWords,
		"delete-records": deleteRecordsWords, "offsets": offsetsWords, "dump": dumpWords,
	}[tool]
	if ok == nil || !ok(l, &out) {
		return "", false
	}
	if seeds := l.first("bootstrap-server", "broker-list", "bootstrap-controller"); seeds != "" {
		out.flag("--at", kafka.Scheme+strings.TrimPrefix(seeds, kafka.Scheme))
	} else {
		out.flag("--at", l.first("at"))
	}
	return strings.Join(out, " "), true
}

// named returns the topics that --topic or an argument names, or the
// placeholder.
func named(l kafkaLine, placeholder string) []string {
	if names := append(slices.Clone(l.flags["topic"]), l.words...); len(names) > 0 {
		return names
	}
	return []string{placeholder}
}

func topicWords(l kafkaLine, out *line) bool {
	for _, action := range []string{"create", "describe", "list", "delete", "alter"} {
		if i := slices.Index(l.words, action); i >= 0 {
			l.words = slices.Delete(l.words, i, i+1)
			l.flags[action] = []string{""}
		}
	}
	names := named(l, "NAME")
	switch {
	case l.has("create"):
		out.add("topic", "create")
		out.add(names...)
		out.flag("--partitions", l.first("partitions"))
		out.flag("--replicas", l.first("replication-factor", "replicas"))
		for _, c := range l.flags["config"] {
			out.flag("--config", c)
		}
		if l.has("if-not-exists") {
			out.add("--if-not-exists")
		}
	case l.has("describe"):
		out.add("topic", "describe")
		if names[0] != "NAME" {
			out.add(names...)
		}
		for _, flag := range []string{"under-replicated-partitions", "unavailable-partitions"} {
			if l.has(flag) {
				out.add("--" + flag)
			}
		}
	case l.has("list"):
		out.add("topic", "list")
	case l.has("delete"):
		out.add("topic", "delete")
		out.add(names...)
	case l.has("alter") && l.has("partitions"):
		out.add("topic", "add-partitions", names[0], "--total", l.first("partitions"))
	case l.has("alter"):
		out.add("topic", "alter")
		out.add(names...)
		configChanges(l, out)
	default:
		out.add("topic", "list")
	}
	return true
}

// configChanges adds the settings that are set and unset.
func configChanges(l kafkaLine, out *line) {
	for _, all := range append(slices.Clone(l.flags["config"]), l.flags["add-config"]...) {
		for _, c := range settingsIn(all) {
			out.flag("--config", c)
		}
	}
	for _, all := range append(slices.Clone(l.flags["delete-config"]), l.flags["unset"]...) {
		for name := range strings.SplitSeq(all, ",") {
			out.flag("--unset", name)
		}
	}
}

// settingsIn splits a=b,c=[d,e] as kafka-configs.sh does.
func settingsIn(text string) (all []string) {
	for part := range strings.SplitSeq(text, ",") {
		if n := len(all); n > 0 && !strings.Contains(part, "=") {
			all[n-1] += "," + part
			continue
		}
		all = append(all, part)
	}
	for i := range all {
		if name, value, ok := strings.Cut(all[i], "=["); ok {
			all[i] = name + "=" + strings.TrimSuffix(value, "]")
		}
	}
	return all
}

func configWords(l kafkaLine, out *line) bool {
	if kind := l.first("entity-type"); kind != "" && kind != "topics" {
		return false
	}
	name := l.first("entity-name", "topic")
	if name == "" {
		name = "NAME"
	}
	if !l.has("alter") {
		out.add("topic", "describe", name)
		return true
	}
	out.add("topic", "alter", name)
	configChanges(l, out)
	return true
}

func produceWords(l kafkaLine, out *line) bool {
	out.add("produce", named(l, "TOPIC")[0])
	if parse, _ := l.property("parse.key"); parse == "true" {
		separator, ok := l.property("key.separator")
		if !ok {
			separator = `\t`
		}
		out.flag("--key-sep", separator)
	}
	if null, ok := l.property("null.marker"); ok {
		out.flag("--null", null)
	}
	acks, _ := l.property("acks")
	if flag := l.first("request-required-acks", "acks"); flag != "" {
		acks = flag
	}
	out.flag("--acks", acks)
	out.flag("--compression", l.first("compression-codec", "compression"))
	return true
}

func consumeWords(l kafkaLine, out *line) bool {
	out.add("consume")
	out.add(named(l, "TOPIC")...)
	group, from := l.first("group"), l.first("offset", "from")
	switch {
	case l.has("from-beginning"), from == "earliest": // the default start
	case from == "latest", from == "" && l.kafkas:
		out.flag("--from", "end")
	default:
		out.flag("--from", from)
	}
	out.flag("--group", group)
	out.flag("--partition", l.first("partition"))
	out.flag("--isolation", l.first("isolation-level", "isolation"))
	messages := l.first("max-messages", "count")
	out.flag("--count", messages)
	if more, _ := l.property("print.headers"); more == "true" {
		out.add("--verbose")
	} else if more, _ := l.property("print.timestamp"); more == "true" {
		out.add("--verbose")
	}
	if messages == "" && !l.has("timeout-ms") {
		out.add("--follow")
	}
	return true
}

// shareWords are the words of kafka-share-groups.sh.
func shareWords(l kafkaLine, out *line) bool {
	for _, action := range []string{"describe", "list", "delete"} {
		if i := slices.Index(l.words, action); i >= 0 {
			l.words = slices.Delete(l.words, i, i+1)
			l.flags[action] = []string{""}
		}
	}
	names := append(slices.Clone(l.flags["group"]), l.words...)
	if len(names) == 0 {
		names = []string{"NAME"}
	}
	switch {
	case l.has("reset-offsets"):
		out.add("share", "reset", names[0])
		resetWords(l, out)
	case l.has("delete-offsets"):
		out.add("share", "delete-offsets", names[0])
		for _, name := range l.flags["topic"] {
			out.flag("--topic", name)
		}
	case l.has("describe"):
		out.add("share", "describe")
		out.add(names...)
	case l.has("delete"):
		out.add("share", "delete")
		out.add(names...)
	default:
		out.add("share", "list")
	}
	return true
}

func groupWords(l kafkaLine, out *line) bool {
	for _, action := range []string{"describe", "list", "delete", "reset"} {
		if i := slices.Index(l.words, action); i >= 0 {
			l.words = slices.Delete(l.words, i, i+1)
			l.flags[map[string]string{"reset": "reset-offsets"}[action]+strings.TrimPrefix(action, "reset")] = []string{""}
		}
	}
	names := append(slices.Clone(l.flags["group"]), l.words...)
	if len(names) == 0 {
		names = []string{"NAME"}
	}
	switch {
	case l.has("reset-offsets"):
		out.add("group", "reset", names[0])
		resetWords(l, out)
	case l.has("delete-offsets"):
		out.add("group", "delete-offsets", names[0])
		for _, t := range l.flags["topic"] {
			out.add("--topic", t)
		}
	case l.has("describe"):
		out.add("group", "describe")
		out.add(names...)
		for _, view := range []string{"members", "state"} {
			if l.has(view) {
				out.add("--" + view)
			}
		}
	case l.has("delete"):
		out.add("group", "delete")
		out.add(names...)
	default:
		out.add("group", "list")
	}
	return true
}

func transactionWords(l kafkaLine, out *line) bool {
	action := ""
	if len(l.words) > 0 {
		action, l.words = l.words[0], l.words[1:]
	}
	id := l.first("transactional-id")
	if id == "" && len(l.words) > 0 {
		id = l.words[0]
	}
	out.add("transaction")
	switch action {
	case "describe", "forceTerminateTransaction":
		out.add(map[string]string{"describe": "describe", "forceTerminateTransaction": "abort"}[action])
		out.add(cmp.Or(id, "ID"))
	case "abort":
		out.add("abort")
		for _, flag := range []string{"topic", "partition", "start-offset"} {
			out.flag("--"+flag, cmp.Or(l.first(flag), map[string]string{"topic": "TOPIC", "partition": "0", "start-offset": "0"}[flag]))
		}
	case "find-hanging":
		out.add("find-hanging")
		out.flag("--topic", l.first("topic"))
		if minutes := l.first("max-transaction-timeout"); minutes != "" {
			out.flag("--max-transaction-timeout", minutes+"m")
		}
	default:
		out.add("list")
	}
	return true
}

// resetWords adds the new position of a group.
func resetWords(l kafkaLine, out *line) {
	switch {
	case l.has("to-earliest"):
		out.flag("--to", "start")
	case l.has("to-latest"):
		out.flag("--to", "end")
	case l.has("shift-by"):
		out.flag("--shift", l.first("shift-by"))
	case l.has("by-duration"):
		out.flag("--to", goDuration(l.first("by-duration")))
	default:
		out.flag("--to", l.first("to-offset", "to-datetime", "to"))
	}
	for _, t := range l.flags["topic"] {
		out.flag("--topic", t)
	}
	if !l.has("execute") {
		out.add("--dry-run")
	}
}

// goDuration converts an ISO 8601 duration such as P1DT2H3M4S to Go's form.
func goDuration(text string) string {
	date, clock, _ := strings.Cut(strings.TrimPrefix(strings.ToUpper(text), "P"), "T")
	if days, ok := strings.CutSuffix(date, "D"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n > 100_000 {
			return text
		}
		if clock == "" {
			return strconv.Itoa(24*n) + "h"
		}
		if hours, rest, ok := strings.Cut(clock, "H"); ok {
			if h, err := strconv.Atoi(hours); err == nil {
				return strconv.Itoa(24*n+h) + "h" + strings.ToLower(rest)
			}
		}
		return strconv.Itoa(24*n) + "h" + strings.ToLower(clock)
	}
	return strings.ToLower(clock)
}

func deleteRecordsWords(l kafkaLine, out *line) bool {
	out.add("topic", "delete-records", named(l, "NAME")[0], "--before", "OFFSET")
	return true
}

func offsetsWords(l kafkaLine, out *line) bool {
	out.add("topic", "describe", "--offsets")
	if names := named(l, ""); names[0] != "" {
		out.add(names...)
	}
	return true
}

func dumpWords(l kafkaLine, out *line) bool {
	out.add("dump")
	for _, files := range append(slices.Clone(l.flags["files"]), l.words...) {
		out.add(strings.Split(files, ",")...)
	}
	if l.has("print-data-log") {
		out.add("--records")
	}
	return true
}
