package extauthz

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// bubble is synctest.Test, with the race detector on one processor: it keeps one state for all timers of a bubble and does not
// lock it, so that Go 1.26's crashes now and then where two threads run them at once (golang/go#78156).
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceEnabled {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
