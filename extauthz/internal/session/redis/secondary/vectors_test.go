package secondary

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// stricter are the cases that Better Auth lets pass and we refuse, with the reason that the doc comment of Read gives.
var stricter = map[string]string{
	"createdAt missing, marker set":        "createdAt is missing",
	"session.userId differs from user.id":  "userId is not user.id",
	"session.token differs from the token": "token is not the token",
	"expiresAt missing":                    "expiresAt is missing",
}

// judge is what a store does with what is kept: the token first, its user's markers second.
func judge(kept map[string]string, keys Keys, token string, now time.Time) (who *Session, refused error) {
	if !IsToken(token) {
		return nil, nil
	}
	value, known := kept[keys.Session(token)]
	if !known || value == "" {
		return nil, nil
	}
	s, err := Read(value, token)
	if err != nil {
		return nil, err
	}
	for _, marker := range keys.Markers(s.UserID) {
		revoked, err := s.IsRevoked(kept[marker])
		if err != nil || revoked {
			return nil, err
		}
	}
	if s.ExpiresAt.Before(now) {
		return nil, nil
	}
	return s, nil
}

// Better Auth's own verdicts, from its run: each case is judged as there, or stricter where the list above says so.
func TestVectors(t *testing.T) {
	content, err := os.ReadFile("testdata/redis_sessions.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		NowMS     int64  `json:"now_ms"`
		KeyPrefix string `json:"key_prefix"`
		Cases     []struct {
			Name, Token    string
			Redis          map[string]string
			BetterAuthSays string `json:"better_auth_says"`
		}
	}
	if err := json.Unmarshal(content, &vectors); err != nil || len(vectors.Cases) < 14 {
		t.Fatal(len(vectors.Cases), err)
	}
	allowed := 0
	for _, c := range vectors.Cases {
		who, refused := judge(c.Redis, Keys{Prefix: vectors.KeyPrefix}, c.Token, time.UnixMilli(vectors.NowMS))
		expected, isAllowed := strings.CutPrefix(c.BetterAuthSays, "session of ")
		why, isStricter := stricter[c.Name]
		switch {
		case isStricter:
			if refused == nil || !strings.Contains(refused.Error(), why) {
				t.Errorf("%s: %v, %v, expected a refusal: %s", c.Name, who, refused, why)
			}
		case isAllowed:
			if who == nil || who.UserID+" "+who.Email != expected || who.Name != "Zoë Day" {
				t.Errorf("%s: %+v, %v, expected %s", c.Name, who, refused, expected)
			}
			allowed++
		case who != nil:
			t.Errorf("%s: %+v, expected a refusal", c.Name, who)
		}
	}
	if allowed < 5 {
		t.Errorf("%d cases allowed", allowed)
	}
}
