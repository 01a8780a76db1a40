// Package storetest is the suite that every store of sessions must pass. It imports session; only tests import it. It
// does not know what a store is made of.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/extauthz/internal/session"
)

// Store is a store that runs, and what changes what is in it: as Better Auth would, by another way than the store's
// own.
type Store struct {
	session.Store

	// Put writes a session and its user.
	Put func(t *testing.T, token string, row session.Row)
	// Delete removes the session, as a sign-out does.
	Delete func(t *testing.T, token string)
	// DeleteUser removes a user, and leaves the sessions where the store lets them be without one.
	DeleteUser func(t *testing.T, id string)
	// Stop makes the store's server go away, and Start come back.
	Stop, Start func(t *testing.T)
}

// budget is what one check waits for in this suite: no slow machine is to decide.
const budget = time.Minute

// Test runs the suite. open makes an empty store, which ends with the test.
func Test(t *testing.T, open func(t *testing.T) Store) {
	for title, test := range map[string]func(*testing.T, Store){
		"a session is found, whole":             testFound,
		"what is not there is no outage":        testUnknown,
		"a change counts from the next check":   testChanges,
		"tokens are compared to the letter":     testTokens,
		"each of many checks gets its own":      testMany,
		"a check that gives up says so":         testGivenUp,
		"an outage is an error, and then ended": testOutage,
	} {
		t.Run(title, func(t *testing.T) { test(t, open(t)) })
	}
}

var expires = time.Date(2999, 1, 2, 3, 4, 5, 0, time.UTC)

func (s Store) ask(t *testing.T, token string) (*session.Row, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	return s.Session(ctx, token)
}

// expect wants the row of a token; nil wants none.
func (s Store) expect(t *testing.T, token string, expected *session.Row) {
	t.Helper()
	row, err := s.ask(t, token)
	switch {
	case err != nil:
		t.Errorf("%q: %v", token, err)
	case (row == nil) != (expected == nil):
		t.Errorf("%q: row %+v, expected %+v", token, row, expected)
	case row != nil && (row.UserID != expected.UserID || row.Email != expected.Email || row.Name != expected.Name ||
		!row.ExpiresAt.Equal(expected.ExpiresAt)):
		t.Errorf("%q: %+v, expected %+v", token, *row, *expected)
	}
}

func testFound(t *testing.T, s Store) {
	for i, row := range []session.Row{
		{ExpiresAt: expires, UserID: "user-1", Email: "zoe@example.com", Name: "Zoë Day"},
		{ExpiresAt: time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), UserID: "user-2", Email: "late@example.com", Name: "Late"},
		{ExpiresAt: expires, UserID: `it's "quoted" \ and 100%`, Email: "o'neill@example.com",
			Name: "Robert'); drop table x;--"},
	} {
		token := fmt.Sprintf("found-%d", i)
		s.Put(t, token, row)
		s.expect(t, token, &row) // also one that has expired: what is past is the check's to say
	}
}

func testUnknown(t *testing.T, s Store) {
	for _, token := range []string{"unknown", strings.Repeat("x", 256), "it's", `%`, "_", "*", "a b", "null"} {
		s.expect(t, token, nil)
	}
}

func testChanges(t *testing.T, s Store) {
	row := session.Row{ExpiresAt: expires, UserID: "user-1", Email: "a@example.com", Name: "A"}
	for range 3 {
		s.expect(t, "changing", nil)
		s.Put(t, "changing", row)
		s.expect(t, "changing", &row)
		s.Delete(t, "changing")
	}
	s.expect(t, "changing", nil)
	s.Put(t, "orphan", session.Row{ExpiresAt: expires, UserID: "user-2", Email: "b@example.com", Name: "B"})
	s.DeleteUser(t, "user-2")
	s.expect(t, "orphan", nil)
}

func testTokens(t *testing.T, s Store) {
	row := session.Row{ExpiresAt: expires, UserID: "user-1", Email: "a@example.com", Name: "A"}
	s.Put(t, "Token.of-mixed_CASE", row)
	s.expect(t, "Token.of-mixed_CASE", &row)
	for _, other := range []string{
		"token.of-mixed_case", "TOKEN.OF-MIXED_CASE", "Token.of-mixed_CAS", "Token.of-mixed_CASEE", " Token.of-mixed_CASE",
		"Token.of-mixed_CASE ", "Token%of-mixed_CASE", "Token.of_mixed_CASE", "Token.of-mixed-CASE",
	} {
		s.expect(t, other, nil)
	}
}

func testMany(t *testing.T, s Store) {
	const sessions, checks = 40, 20
	rows := make(map[string]session.Row, sessions)
	for i := range sessions {
		token := fmt.Sprintf("many-%02d", i)
		rows[token] = session.Row{ExpiresAt: expires.Add(time.Duration(i) * time.Hour), UserID: fmt.Sprintf("user-%d", i),
			Email: fmt.Sprintf("u%d@example.com", i), Name: fmt.Sprintf("User %d", i)}
		s.Put(t, token, rows[token])
	}
	var work sync.WaitGroup
	for token, row := range rows {
		for range checks {
			work.Go(func() { s.expect(t, token, &row) })
			work.Go(func() { s.expect(t, token+"-not", nil) })
		}
	}
	work.Wait()
}

func testGivenUp(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if row, err := s.Session(ctx, "given-up"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v, expected the context's own error", row, err)
	}
}

func testOutage(t *testing.T, s Store) {
	row := session.Row{ExpiresAt: expires, UserID: "user-1", Email: "a@example.com", Name: "A"}
	s.Put(t, "outage", row)
	s.expect(t, "outage", &row)
	s.Stop(t)
	for _, token := range []string{"outage", "unknown"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if found, err := s.Session(ctx, token); err == nil {
			t.Errorf("%s: %+v while the server is away, expected an error", token, found)
		}
		cancel()
	}
	s.Start(t)
	for deadline := time.Now().Add(budget); ; time.Sleep(10 * time.Millisecond) {
		found, err := s.ask(t, "outage")
		if err == nil {
			if found == nil {
				t.Error("a session is gone after the outage")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer after the outage: %v", err)
		}
	}
	s.expect(t, "outage", &row)
	s.expect(t, "unknown", nil)
}
