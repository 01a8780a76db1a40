package answer_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/session/postgres/answer"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// line is a row as the session query gives it; a nil text or number is null.
type line struct {
	standby         bool
	token           *string
	expires         *float64
	user            *string
	email, name     *string
	bannedUntilThen *float64
}

// lines are the rows of one answer, which may end by an error.
type lines struct {
	pgx.Rows
	list []line
	at   int
	err  error
}

func (l *lines) Close()     {}
func (l *lines) Err() error { return l.err }
func (l *lines) Next() bool { l.at++; return l.at <= len(l.list) }

func (l *lines) Scan(into ...any) error {
	one := l.list[l.at-1]
	*into[0].(*bool) = one.standby
	*into[1].(**string), *into[2].(**float64), *into[3].(**string) = one.token, one.expires, one.user
	*into[4].(**string), *into[5].(**string), *into[6].(**float64) = one.email, one.name, one.bannedUntilThen
	return nil
}

func live(token, user string) line {
	return line{token: &token, expires: new(float64(1772366400.5)), user: &user}
}

// A row is a session's where it has a token, an expiry and a user, and where no other has its token; one standby among
// those that answered makes the answer a standby's.
func TestRead(t *testing.T) {
	nobody, standbys := line{}, live("b", "user-2")
	standbys.standby = true
	without := func(change func(*line)) line {
		one := live("a", "user-1")
		change(&one)
		return one
	}
	failed := errors.New("cut off")
	for title, row := range map[string]struct {
		list      []line
		err       error
		users     map[string]string
		isStandby bool
		want      error
	}{
		"one":                  {list: []line{live("a", "user-1")}, users: map[string]string{"a": "user-1"}},
		"none":                 {list: []line{nobody}},
		"nothing at all":       {want: tables.ErrRowsMayHide},
		"two of one token":     {list: []line{live("a", "user-1"), live("a", "user-2")}},
		"three of one token":   {list: []line{live("a", "user-1"), live("a", "user-2"), live("a", "user-3")}},
		"without a token":      {list: []line{without(func(l *line) { l.token = nil })}},
		"without an expiry":    {list: []line{without(func(l *line) { l.expires = nil })}},
		"without a user":       {list: []line{without(func(l *line) { l.user = nil })}},
		"by a standby":         {list: []line{{standby: true}}, isStandby: true},
		"a standby's first":    {list: []line{standbys, live("a", "user-1")}, users: map[string]string{"a": "user-1", "b": "user-2"}, isStandby: true},
		"a standby's last":     {list: []line{live("a", "user-1"), standbys}, users: map[string]string{"a": "user-1", "b": "user-2"}, isStandby: true},
		"ended by an error":    {list: []line{live("a", "user-1")}, err: failed, want: failed},
		"an error and no rows": {err: failed, want: failed},
	} {
		found, isStandby, err := answer.Read(&lines{list: row.list, err: row.err}, 2, &tables.Query{})
		if !errors.Is(err, row.want) || isStandby != row.isStandby {
			t.Errorf("%s: a standby's: %t, %v", title, isStandby, err)
		}
		for token, one := range found {
			if one != nil && row.users[token] != one.UserID || one == nil && row.users[token] != "" {
				t.Errorf("%s: %s is %+v", title, token, one)
			}
		}
		for token := range row.users {
			if found[token] == nil {
				t.Errorf("%s: %s is not found", title, token)
			}
		}
	}
}

// Whatever PostgreSQL has as a time is one that a calendar can show, and a ban without an end has one there.
func TestTimes(t *testing.T) {
	for seconds, want := range map[float64]time.Time{
		1772366400.5: time.Unix(1772366400, 5e8), 0: time.Unix(0, 0),
		math.Inf(1): time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), math.Inf(-1): time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		one := live("a", "user-1")
		one.expires, one.bannedUntilThen = &seconds, &seconds
		found, _, err := answer.Read(&lines{list: []line{one}}, 1, &tables.Query{})
		if err != nil || found["a"] == nil || !found["a"].ExpiresAt.Equal(want) || !found["a"].BannedUntil.Equal(want) {
			t.Errorf("%v: %+v, %v; expected %v", seconds, found["a"], err, want)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	list := make([]line, 64)
	for i := range list {
		list[i] = live(string(rune('a'+i)), "user-1")
	}
	b.ReportAllocs()
	for b.Loop() {
		if found, _, err := answer.Read(&lines{list: list}, len(list), &tables.Query{}); err != nil || len(found) != len(list) {
			b.Fatal(len(found), err)
		}
	}
}
