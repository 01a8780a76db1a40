package secondary

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

const token = "AbCdEfGhIjKlMnOpQrStUvWxYz012345"

// value is what Better Auth writes, with this in place of a member's text.
func value(session, user string) string {
	return fmt.Sprintf(`{"session":{"id":"s","token":%q,"userId":"u","createdAt":"2026-11-25T01:17:37.682Z"%s},`+
		`"user":{"id":"u","email":"zoe@example.com","name":"Zoë"%s}}`, token, session, user)
}

func TestReadRefuses(t *testing.T) {
	const expiry = `,"expiresAt":"2026-11-25T02:18:37.682Z"`
	if s, err := Read(value(expiry, ""), token); err != nil || s.Name != "Zoë" {
		t.Fatal(s, err)
	}
	for title, text := range map[string]string{
		"nothing":                   "",
		"null":                      "null",
		"text":                      `"x"`,
		"a number":                  "1",
		"an array":                  "[]",
		"an empty object":           "{}",
		"cut off":                   value(expiry, "")[:100],
		"followed by more":          value(expiry, "") + "{}",
		"no user":                   `{"session":{"token":"` + token + `"}}`,
		"user is null":              `{"session":{},"user":null}`,
		"session is an array":       `{"session":[],"user":{}}`,
		"session twice":             strings.Replace(value(expiry, ""), `{"session"`, `{"session":{},"session"`, 1),
		"a name twice":              value(expiry+`,"userId":"u"`, ""),
		"not UTF-8":                 value(expiry, `,"x":"`+"\xff"+`"`),
		"half a surrogate pair":     value(expiry, `,"x":"\ud83d"`),
		"another token":             strings.Replace(value(expiry, ""), token, strings.ToLower(token), 1),
		"another user":              strings.Replace(value(expiry, ""), `"userId":"u"`, `"userId":"U"`, 1),
		"no ids":                    strings.NewReplacer(`"userId":"u",`, "", `"id":"u",`, "").Replace(value(expiry, "")),
		"empty ids":                 strings.NewReplacer(`"userId":"u"`, `"userId":""`, `"id":"u"`, `"id":""`).Replace(value(expiry, "")),
		"ids are objects":           strings.NewReplacer(`"userId":"u"`, `"userId":{}`, `"id":"u"`, `"id":{}`).Replace(value(expiry, "")),
		"long ids":                  strings.ReplaceAll(value(expiry, ""), `"u"`, `"`+strings.Repeat("u", maxID+1)+`"`),
		"no expiry":                 value("", ""),
		"expiry is null":            value(`,"expiresAt":null`, ""),
		"expiry is empty":           value(`,"expiresAt":""`, ""),
		"expiry in words":           value(`,"expiresAt":"tomorrow"`, ""),
		"expiry without a zone":     value(`,"expiresAt":"2026-11-25T02:18:37.682"`, ""),
		"expiry is digits in text":  value(`,"expiresAt":"1795569517682"`, ""),
		"expiry past the calendar":  value(`,"expiresAt":1e300`, ""),
		"expiry is true":            value(`,"expiresAt":true`, ""),
		"e-mail is an object":       value(expiry, `,"email2":1`)[:0] + strings.Replace(value(expiry, ""), `"zoe@example.com"`, `{}`, 1),
		"longer than the bound":     value(expiry, `,"x":"`+strings.Repeat("x", MaxValue)+`"`),
		"encoded twice":             fmt.Sprintf("%q", value(expiry, "")),
		"deeper than anyone writes": value(expiry, `,"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)),
	} {
		if s, err := Read(text, token); err == nil {
			t.Errorf("%s: %+v, expected a refusal", title, s)
		} else if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "zoe") {
			t.Errorf("%s: the error shows the value: %v", title, err)
		}
	}
}

func TestReadAccepts(t *testing.T) {
	at := time.UnixMilli(1795569517682)
	for title, text := range map[string]string{
		"an ISO date":               value(`,"expiresAt":"2026-11-25T01:18:37.682Z"`, ""),
		"milliseconds":              value(`,"expiresAt":1795569517682`, ""),
		"a date with a zone":        value(`,"expiresAt":"2026-11-25T02:18:37.682+01:00"`, ""),
		"columns that nobody knows": value(`,"expiresAt":1795569517682,"activeOrganizationId":null,"x":{"y":[1]}`, `,"role":"a,b"`),
		"ids that are numbers": strings.NewReplacer(`"userId":"u"`, `"userId":17`, `"id":"u"`, `"id":17`).
			Replace(value(`,"expiresAt":1795569517682`, "")),
		"no e-mail": strings.Replace(value(`,"expiresAt":1795569517682`, ""), `"zoe@example.com"`, "null", 1),
	} {
		if s, err := Read(text, token); err != nil || !s.ExpiresAt.Equal(at) {
			t.Errorf("%s: %+v, %v", title, s, err)
		}
	}
}

func TestMarkers(t *testing.T) {
	s, err := Read(value(`,"expiresAt":1795569517682`, ""), token)
	if err != nil {
		t.Fatal(err)
	}
	const created = 1795569457682
	for marker, revoked := range map[string]bool{
		"": false, "abc": false, "NaN": false, "1795569457683x": false, "{}": false, "1_795_569_457_683": false, "inf": false,
		"0": false, "-1": false, "null": false, "-Infinity": false, "1795569457682": false, "1795569457681.9": false,
		"1795569457683": true, " 1795569457683\n": true, "1795569457682.5": true, "1.8e12": true, "Infinity": true,
		"1e999": true, "0x1a20f27f013": created < 0x1a20f27f013, "+1795569457683": true, "\ufeff1795569457683": true, "9999999999999": true,
	} {
		if got, err := s.IsRevoked(marker); got != revoked || err != nil {
			t.Errorf("%q: %t, %v, expected %t", marker, got, err, revoked)
		}
	}
	s.created = math.NaN()
	if _, err := s.IsRevoked("1"); err == nil {
		t.Error("a session without a date of creation beside a marker is not refused")
	}
	if revoked, err := s.IsRevoked(""); revoked || err != nil {
		t.Error(revoked, err)
	}
}

func TestTokensShape(t *testing.T) {
	for text, is := range map[string]bool{
		token: true, "a": true, "a.b-c_d~e": true, strings.Repeat("a", MaxToken): true,
		"": false, strings.Repeat("a", MaxToken+1): false, "revoked-sessions-before-u": false, "active-sessions-u": false,
		"verification:x": false, "a b": false, "a\r\nb": false, "ä": false, "a/b": false, "*": false, "a\x00": false,
	} {
		if IsToken(text) != is {
			t.Errorf("%q: %t", text, !is)
		}
	}
}

func TestKeys(t *testing.T) {
	plain, hashed := Keys{Prefix: "p:"}, Keys{Hashed: true}
	if plain.Session("abc") != "p:abc" || plain.Markers("u")[0] != "p:revoked-sessions-before-u" {
		t.Error(plain.Session("abc"), plain.Markers("u"))
	}
	// FIPS 180-2, appendix B.1
	if hashed.Session("abc") != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" || len(hashed.Markers("u")) != 2 {
		t.Error(hashed.Session("abc"), hashed.Markers("u"))
	}
}

// Whatever is kept, reading it neither panics nor shows it, and what is read is whole.
func FuzzRead(f *testing.F) {
	f.Add(value(`,"expiresAt":"2026-11-25T02:18:37.682Z"`, ""))
	f.Add(value(`,"expiresAt":1795569517682`, `,"email":null`))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(text, token)
		if err == nil && (s.UserID == "" || s.ExpiresAt.IsZero()) {
			t.Errorf("%+v", s)
		}
		number(text)
		if IsToken(text) && (len(text) > MaxToken || strings.ContainsAny(text, ": \r\n")) {
			t.Errorf("%q would be part of a key", text)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := value(`,"expiresAt":"2026-11-25T02:18:37.682Z","ipAddress":"","userAgent":"Mozilla/5.0 (X11; Linux x86_64)"`,
		`,"emailVerified":true,"image":null,"createdAt":"2026-11-25T01:01:57.682Z","role":"user","banned":false`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(text, token); err != nil {
			b.Fatal(err)
		}
	}
}
