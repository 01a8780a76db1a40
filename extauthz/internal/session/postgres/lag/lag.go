// Package lag judges how far a standby is behind its primary, and whether the clocks let that be known. It imports
// nothing of this module, and asks no server.
package lag

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// maxClockDifference bounds by how much the clocks that a lag is measured by may differ; for small limits it is a
// quarter of the limit. It is subtracted from the limit, so that the limit holds whatever the clocks do within it.
const maxClockDifference = 100 * time.Millisecond

// Judge judges whether a standby is near enough to its primary. A lag is the difference of two hosts' clocks: the
// primary's, which dated the last commit that was replayed, and the standby's. So the standby's is held against this
// host's, and a commit that is dated after it was replayed tells that the primary's is ahead. Neither lag is trusted
// then, nor until a while after: as a standby that stops falls behind, a negative lag passes through all that would
// be near enough. What cannot be seen is a primary whose clock is ahead by no more than the standby is behind.
//
// Safe for concurrent use.
type Judge struct {
	most time.Duration
	Now  func() time.Time

	last atomic.Uint64 // the last lag that was judged, in seconds: the bits of a float64

	mu       sync.Mutex
	doubted  time.Time // when the clocks were last seen to differ
	doubting string    // how they did; empty when they never did
}

// New judges by a bound and the clock here.
func New(most time.Duration, now func() time.Time) *Judge {
	return &Judge{most: most, Now: now}
}

// clockError says that clocks differ too much for a lag to be known.
type clockError struct{ how string }

func (e *clockError) Error() string {
	return "the standby's lag cannot be known, since " + e.how + "; set the clocks by NTP (" + Setting + ")"
}

// tolerance is by how much clocks may differ.
func (n *Judge) tolerance() time.Duration { return min(maxClockDifference, n.most/4) }

// distrust is for how long no lag is trusted after the clocks were seen to differ.
func (n *Judge) distrust() time.Duration { return max(time.Minute, 2*n.most) }

// Judge returns an error unless a standby is near: replayed is the date of the last commit that it has replayed,
// there the time on its clock, both in seconds since 1970; and here that was between sent and received.
func (n *Judge) Judge(replayed, there float64, sent, received time.Time) error {
	lag := there - replayed
	n.Store(max(lag, 0))
	tolerance := n.tolerance()
	how := ""
	if early, late := unixSeconds(sent)-there, there-unixSeconds(received); max(early, late) > tolerance.Seconds() {
		how = fmt.Sprintf("the standby's clock differs by %s from the one here", inSeconds(max(early, late)))
	} else if -lag > tolerance.Seconds() {
		how = fmt.Sprintf("the primary's clock is %s ahead of the standby's", inSeconds(-lag))
	}
	if how == "" {
		how = n.doubt(received)
	} else {
		n.mu.Lock()
		n.doubted, n.doubting = received, how
		n.mu.Unlock()
	}
	switch {
	case how != "":
		return &clockError{how}
	case !(lag <= (n.most - tolerance).Seconds()):
		return &Error{n.most}
	}
	return nil
}

// doubt is how the clocks differed when that is not long ago; empty when it is.
func (n *Judge) doubt(now time.Time) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.doubting == "" || now.Sub(n.doubted) > n.distrust() {
		return ""
	}
	return n.doubting
}

// Store records a lag, in seconds.
func (n *Judge) Store(seconds float64) { n.last.Store(math.Float64bits(seconds)) }

// Seconds is the last lag that was judged, 0 where it was negative or a primary's.
func (n *Judge) Seconds() float64 { return math.Float64frombits(n.last.Load()) }

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func inSeconds(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(10 * time.Millisecond)
}

// Setting is the field of the public Config that lets a standby answer, for messages.
const Setting = "Config.DatabaseMaxLag"

// Error says that a standby is further behind than it may be.
type Error struct{ most time.Duration }

func (e *Error) Error() string {
	return fmt.Sprintf("the standby is more than %s behind its primary, or the primary commits less often than that (%s)",
		e.most, Setting)
}

// TooFar is what of an error says that a standby is too far behind, or that its lag is not known; nil when nothing
// does.
func TooFar(err error) error {
	if lag, is := errors.AsType[*Error](err); is {
		return lag
	}
	if clock, is := errors.AsType[*clockError](err); is {
		return clock
	}
	return nil
}
