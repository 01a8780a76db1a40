package master

import (
	"testing"

	"extauthz/extauthz/internal/session/redis/resp"
)

// The address in ASK is written as CLUSTER SLOTS' addresses are kept, so that the node is found: with an IPv6 address in brackets.
func TestElsewhereIsAnAddress(t *testing.T) {
	for text, expected := range map[string]string{
		"ASK 1 127.0.0.1:7000": "127.0.0.1:7000", "ASK 1 ::1:7000": "[::1]:7000", "ASK 1 [::1]:7000": "[::1]:7000", "ASK 1 node-b:7000": "node-b:7000",
	} {
		a, _, err := answerOf(resp.Value{Kind: resp.Failure, Text: text})
		if err != nil || a.Elsewhere != expected || !a.ForOnce {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
	}
}
