package sampler

import (
	"strings"
	"sync"
	"time"
)

// repeatInterval is the least time between two lines about what changes.
const repeatInterval = time.Second

// Changes keeps what was logged last, so that it is logged once. Numbers do not count: a port or a duration is
// another each time. Safe for concurrent use.
type Changes struct {
	mu   sync.Mutex
	text string
	at   time.Time
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// IsNew tells whether this is to be logged: it is not what was logged last, and that was not just now. Empty text
// says that all is well again, and IsNew then tells whether something else was logged before.
func (t *Changes) IsNew(text string) bool {
	text = withoutDigits(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.text || text != "" && t.text != "" && time.Since(t.at) < repeatInterval {
		return false
	}
	t.text, t.at = text, time.Now()
	return true
}
