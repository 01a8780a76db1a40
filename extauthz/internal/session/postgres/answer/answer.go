// Package answer reads the rows that the session query answers with. It imports session and tables. It does not know
// how the query is sent.
package answer

import (
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/postgres/tables"
)

// Read reads the session query's answer for so many tokens. Each row says whether a standby gave it, and
// there is one that says this alone where no token is known.
func Read(
	rows pgx.Rows, tokens int, query *tables.Query,
) (found map[string]*session.Row, isStandby bool, err error) {
	defer rows.Close()
	found = make(map[string]*session.Row, tokens)
	said := false
	var standby bool
	var token, userID, email, name *string
	var expires, banned *float64
	facts := make([]*string, query.Facts)
	into := append(make([]any, 0, query.Columns()), &standby, &token, &expires, &userID, &email, &name, &banned)
	for i := range facts {
		into = append(into, &facts[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, false, err
		}
		said, isStandby = true, isStandby || standby
		if token == nil || expires == nil || userID == nil {
			continue // no row; or without an expiry, which makes it no session
		}
		if _, known := found[*token]; known { // nobody knows whose it is then
			found[*token] = nil
			continue
		}
		row := &session.Row{
			ExpiresAt: timeOf(*expires), UserID: *userID, Email: valueOf(email), Name: valueOf(name), Absent: query.Absent,
		}
		if banned != nil {
			row.BannedUntil = timeOf(*banned)
		}
		if query.HasFacts {
			row.Facts = make([]string, len(facts))
			for i, fact := range facts {
				row.Facts[i] = valueOf(fact)
			}
		}
		found[*token] = row
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	if !said {
		return nil, false, tables.ErrRowsMayHide
	}
	return found, isStandby, nil
}

// The years 1 to 9999, in seconds since 1970: what a calendar can show.
const firstSecond, lastSecond = -62135596800, 253402300799

// timeOf reads seconds since 1970, bounded to what a calendar can show: PostgreSQL also has ±infinity.
func timeOf(seconds float64) time.Time {
	seconds = min(max(seconds, firstSecond), lastSecond)
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1e3)
}

func valueOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
