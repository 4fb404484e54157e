package lint_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stilted are words that plain technical English does without. Each stands with
// what to write instead.
var stilted = map[string]string{
	"whoever":  "name it: the caller, the reader, the process",
	"nobody":   "no one, or the passive: is not closed",
	"anew":     "again, or rebuilt",
	"mended":   "fixed, repaired",
	"is told":  "gets, receives",
	"are told": "get, receive",
}

// longest is how many words a sentence may have. A longer one is a list.
const longest = 45

// prose returns the paragraphs, list items and table cells of a document, each on
// one line, without code.
func prose(document string) []string {
	document = fenced.ReplaceAllString(document, "\n")
	document = regexp.MustCompile("`[^`]*`").ReplaceAllString(document, "code")
	var all []string
	begins := true
	for line := range strings.Lines(document) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			begins = true
		case strings.HasPrefix(line, "|"):
			all, begins = append(all, strings.Split(line, "|")...), true
		case begins || strings.HasPrefix(line, "#") || item.MatchString(line):
			all, begins = append(all, line), strings.HasPrefix(line, "#")
		default:
			all[len(all)-1] += " " + line
		}
	}
	return all
}

var (
	item = regexp.MustCompile(`^([-*]|\d+\.) `)
	stop = regexp.MustCompile(`[.!?]['")*]*\s+`)
)

// TestProseIsPlain holds the documents for users to plain words and short
// sentences.
func TestProseIsPlain(t *testing.T) {
	for path, text := range documents(t) {
		if !strings.HasPrefix(path, "docs/") && !slices.Contains(readmes, path) {
			continue
		}
		for _, paragraph := range prose(text) {
			for word, instead := range stilted {
				if regexp.MustCompile(`(?i)\b` + word + `\b`).MatchString(paragraph) {
					t.Errorf("%s: %q (%s) in: %s", path, word, instead, paragraph)
				}
			}
			for _, sentence := range stop.Split(paragraph, -1) {
				if n := len(strings.Fields(sentence)); n > longest {
					t.Errorf("%s: a sentence of %d words, which should be a list: %s", path, n, sentence)
				}
			}
		}
	}
}

// plain are the packages whose comments, tests included, TestCommentsArePlain
// holds to plain words. It grows.
var plain = []string{
	".",
	"backendtest",
	"bench",
	"cmd/runnel",
	"consumer",
	"datadir",
	"examples/activity",
	"examples/activity/activity",
	"examples/eventsourcing",
	"examples/eventsourcing/ledger",
	"examples/messagequeue",
	"examples/messagequeue/queue",
	"examples/quickstart",
	"examples/quickstart/quickstart",
	"examples/unittest",
	"examples/unittest/reminder",
	"examples/wordcount",
	"examples/wordcount/wordcount",
	"fault",
	"internal/archive",
	"internal/attach",
	"internal/buffers",
	"internal/callback",
	"internal/catalogue",
	"internal/cleaner",
	"internal/closing",
	"internal/coordinator",
	"internal/coordinator/group",
	"internal/fetch",
	"internal/fixture",
	"internal/host",
	"internal/journal",
	"internal/layout",
	"internal/metadata",
	"internal/pattern",
	"internal/pipeline",
	"internal/produce",
	"internal/quota",
	"internal/role",
	"internal/tasks",
	"internal/vfs",
	"internal/wire",
	"kafka",
	"kafka/examples/quickstart",
	"kafka/examples/wordcount",
	"log",
	"partition",
	"producer",
	"record",
	"replica/memory",
	"replica/tcp",
	"replica/transporttest",
	"runneltest",
	"serde",
	"streams",
	"streams/state",
	"streams/state/statetest",
	"streams/streamstest",
	"topic",
}

// TestCommentsArePlain holds comments to plain words.
func TestCommentsArePlain(t *testing.T) {
	for _, s := range sources(t) {
		if !slices.Contains(plain, s.dir()) {
			continue
		}
		for _, group := range s.ast.Comments {
			for word, instead := range stilted {
				if regexp.MustCompile(`(?i)\b` + word + `\b`).MatchString(oneLine(group.Text())) {
					t.Errorf("%s: %q (%s)", s.at(group.Pos()), word, instead)
				}
			}
		}
	}
}

// TestMessagesArePlain holds string literals to plain words: error messages, log
// lines, steps of a repair, help texts.
func TestMessagesArePlain(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(plain, s.dir()) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			for word, instead := range stilted {
				if regexp.MustCompile(`(?i)\b` + word + `\b`).MatchString(literal.Value) {
					t.Errorf("%s: %q (%s) in %s", s.at(literal.Pos()), word, instead, literal.Value)
				}
			}
			return true
		})
	}
}
