package main

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// bubble is synctest.Test on one processor: the race detector keeps one state for all timers of a bubble and does not lock it,
// so that Go 1.26's crashes now and then where two threads run them at once (golang/go#78156).
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
