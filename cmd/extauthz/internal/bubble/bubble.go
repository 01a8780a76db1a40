// Package bubble runs tests in simulated time. Only tests import it.
package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test], with the race detector on one processor: it keeps one state for all timers of a bubble and
// does not lock it, so that Go 1.26's crashes now and then where two threads run them at once (golang/go#78156).
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if race {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
