package redisurl

import (
	"strings"
	"testing"
)

// A password that was not percent-encoded, or whose @ is missing or was encoded, stands where a host, a port or a
// parameter is expected. It is in no error, and in nothing that is logged.
func TestMisplacedPasswordIsNotShown(t *testing.T) {
	for _, text := range []string{
		"redis://user:secret%40h:6379/0", "redis://user:secret:6379", "redis://user:secret:h:6379/0", "redis://:secret%40h",
		"redis://:secret#x@h:6379", "redis://secret#x@h", "redis://user:x#secret@h", "redis://:secret[@h]x", "redis://user:a@secret?secret@h",
		"redis://user:secret,h:1:2", "redis://a,user:secret:x", `redis://user:sec\secret`, "redis://user:p,secret:secret:9",
		"redis-sentinel://user:secret%40h:26379/m", "redis://h:6379,:secret%40b",
	} {
		o, err := Parse(text)
		switch {
		case err == nil:
			t.Errorf("%q: %v %v, expected a refusal", text, o.Hosts, o.Unknown)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error shows it: %v", text, err)
		}
	}
}
