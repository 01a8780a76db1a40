package lag

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/bubble"
)

// A lag is trusted only while the clocks that it is measured by agree.
func TestNearness(t *testing.T) {
	const limit = 2 * time.Second
	for _, row := range []struct {
		title             string
		primary, standby  time.Duration // how far the clocks are ahead of the one here
		behind            time.Duration // how far the standby really is; negative: nothing was replayed
		wantLag, wantDiff bool
	}{
		{"near", 0, 0, 10 * time.Millisecond, false, false},
		{"clocks as NTP keeps them", 5 * time.Millisecond, -5 * time.Millisecond, time.Millisecond, false, false},
		{"too far", 0, 0, 3 * time.Second, true, false},
		{"at the limit, less what the clocks may differ by", 0, 0, 1950 * time.Millisecond, true, false},
		{"nothing replayed", 0, 0, -1, true, false},
		{"the primary ahead", time.Second, 0, 0, false, true},
		{"the primary an hour ahead, the standby stopped", time.Hour, 0, 30 * time.Minute, false, true},
		{"the primary behind", -time.Hour, 0, 0, true, false},
		{"the standby behind, which makes the lag too small", 0, -5 * time.Second, 6 * time.Second, false, true},
		{"the standby behind by a little, and the lag negative", 0, -200 * time.Millisecond, 0, false, true},
		{"the standby ahead", 0, time.Hour, 0, false, true},
		{"both ahead of here", time.Minute, time.Minute, 0, false, true},
	} {
		t.Run(row.title, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			n := Judge{most: limit, Now: func() time.Time { return now }}
			replayed := unixSeconds(now.Add(row.primary - row.behind))
			if row.behind < 0 {
				replayed = math.Inf(-1)
			}
			err := n.Judge(replayed, unixSeconds(now.Add(row.standby)), now.Add(-time.Millisecond), now.Add(time.Millisecond))
			_, isLag := errors.AsType[*Error](err)
			_, isDiff := errors.AsType[*clockError](err)
			if isLag != row.wantLag || isDiff != row.wantDiff {
				t.Errorf("%v", err)
			}
			if lag := n.Seconds(); lag < 0 || math.IsNaN(lag) {
				t.Errorf("the lag is told as %g", lag)
			}
		})
	}
}

// A standby that stops while the primary's clock is ahead passes, as it falls behind, through all lags from the
// negative one on: none of them is trusted, though some look near.
func TestLagThatGrowsThroughZeroIsNotTrusted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := Judge{most: 2 * time.Second, Now: time.Now}
		const ahead = 10 * time.Second
		stopped := time.Now()
		for time.Since(stopped) < 5*time.Minute {
			now := time.Now()
			if err := n.Judge(unixSeconds(stopped.Add(ahead)), unixSeconds(now), now, now); err == nil {
				t.Fatalf("trusted %s after it stopped", time.Since(stopped))
			}
			time.Sleep(100 * time.Millisecond)
		}
		// Once the clocks agree, and have for a while, so is the standby.
		now := time.Now()
		if err := n.Judge(unixSeconds(now), unixSeconds(now), now, now); err != nil {
			t.Error(err)
		}
		if err := n.Judge(unixSeconds(now.Add(time.Second)), unixSeconds(now), now, now); err == nil || !strings.Contains(err.Error(), "the primary's clock is 1s ahead of the standby's") {
			t.Error(err)
		}
	})
}
