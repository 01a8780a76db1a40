package jose_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
)

var (
	noon     = time.Unix(1772366400, 0)
	expected = jose.Expectations{Issuers: []string{"https://app.example.com"}, Audiences: []string{"https://api.example.com"}, Leeway: time.Minute}
)

func reasonOf(err error) reason.Reason {
	if err == nil {
		return ""
	}
	return reason.Of(err).Reason()
}

// Each claim that counts is judged, and each at its edge.
func TestExpectations(t *testing.T) {
	for payload, want := range map[string]reason.Reason{
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366340.5}`:                    "",
		`{"iss":"https://app.example.com","aud":["b","https://api.example.com"],"sub":"a","exp":1772366401}`:                "",
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366340}`:                      reason.Expired,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a"}`:                                       reason.MalformedClaims,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":"1772366401"}`:                    reason.MalformedClaims,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1e30}`:                            reason.MalformedClaims,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"nbf":1772366460}`:     "",
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"nbf":1772366460.5}`:   reason.NotYetValid,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"iat":1772366460}`:     "",
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"iat":1772366460.5}`:   reason.IssuedInFuture,
		`{"iss":"https://app.example.com/","aud":"https://api.example.com","sub":"a","exp":1772366401}`:                     reason.WrongIssuer,
		`{"aud":"https://api.example.com","sub":"a","exp":1772366401}`:                                                      reason.WrongIssuer,
		`{"iss":"https://app.example.com","aud":"https://api.example.com/","sub":"a","exp":1772366401}`:                     reason.WrongAudience,
		`{"iss":"https://app.example.com","aud":[],"sub":"a","exp":1772366401}`:                                             reason.WrongAudience,
		`{"iss":"https://app.example.com","sub":"a","exp":1772366401}`:                                                      reason.WrongAudience,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","exp":1772366401}`:                                reason.MissingSubject,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"","exp":1772366401}`:                       reason.MissingSubject,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":7,"exp":1772366401}`:                        reason.MissingSubject,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a\u0000","exp":1772366401}`:                reason.MissingSubject,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a\u0085","exp":1772366401}`:                reason.MissingSubject,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"cnf":null}`:           reason.ProofRequired,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"azp":"b"}`:            reason.OAuthNotConfigured,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"client_id":"b"}`:      "",
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"b","exp":1772366401,"client_id":"b"}`:      reason.OAuthNotConfigured,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1,"client_id":"b","scope":"c"}`:   reason.Expired,
		`{"iss":"","aud":"https://api.example.com","sub":"a","exp":1772366401,"client_id":"b","scope":"c"}`:                 reason.OAuthNotConfigured,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"at_hash":"b"}`:        reason.UnsupportedType,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"events":{"a://b":1}}`: reason.UnsupportedType,
		`{"iss":"https://app.example.com","aud":"https://api.example.com","sub":"a","exp":1772366401,"events":{"a":1}}`:     "",
	} {
		claims, err := jose.ParseClaims([]byte(payload))
		if err == nil {
			err = expected.Check(&claims, noon)
		}
		if got := reasonOf(err); got != want {
			t.Errorf("%s: reason %q, expected %q", payload, got, want)
		}
	}
	claims, err := jose.ParseClaims([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	claims.IsAccessToken = true
	if got := reasonOf(expected.Check(&claims, noon)); got != reason.OAuthNotConfigured {
		t.Errorf("typ at+jwt: reason %q", got)
	}
}

// An absent iss is no issuer, not even where the empty one is accepted.
func TestAbsentIssuerIsNone(t *testing.T) {
	empty := jose.Expectations{Issuers: []string{""}}
	if err := empty.CheckIssuer("", false); reasonOf(err) != reason.WrongIssuer {
		t.Errorf("%v", err)
	}
}

// What is judged anew of a token that passed before is all that may be otherwise by now.
func TestRecheck(t *testing.T) {
	times := func(expires int64) *jose.Times { return &jose.Times{Expires: jose.NumericDate(expires)} }
	for title, row := range map[string]struct {
		expires  int64
		issuer   string
		audience []string
		want     reason.Reason
	}{
		"good":             {noon.Unix(), expected.Issuers[0], expected.Audiences, ""},
		"expired":          {noon.Unix() - 60, expected.Issuers[0], expected.Audiences, reason.Expired},
		"another issuer":   {noon.Unix(), "https://other.example.com", expected.Audiences, reason.WrongIssuer},
		"another audience": {noon.Unix(), expected.Issuers[0], []string{"https://other.example.com"}, reason.WrongAudience},
		"no audience":      {noon.Unix(), expected.Issuers[0], nil, reason.WrongAudience},
	} {
		if got := reasonOf(expected.Recheck(times(row.expires), row.issuer, row.audience, noon)); got != row.want {
			t.Errorf("%s: reason %q, expected %q", title, got, row.want)
		}
	}
}

// FuzzParseClaims: whatever claims are accepted say the same to a second JSON parser.
func FuzzParseClaims(f *testing.F) {
	f.Add([]byte(payload))
	f.Add([]byte(`{"sub":"a","exp":1,"aud":["a","b"],"iat":1.5,"nbf":0,"email":null}`))
	f.Add([]byte(`{"s\u0075b":"a","exp":1e3}`))
	f.Add([]byte(`{"sub":"a","exp":1,"events":{"urn:a":{}},"cnf":{"jkt":"b"},"client_id":null,"scope":["c"]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := jose.ParseClaims(payload)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(payload))
		var want map[string]any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if subject, _ := want["sub"].(string); subject != got.Subject {
			t.Errorf("sub %q, want %q", got.Subject, subject)
		}
		if issuer, _ := want["iss"].(string); issuer != got.Issuer {
			t.Errorf("iss %q, want %q", got.Issuer, issuer)
		}
		if expires, isNumber := want["exp"].(float64); !isNumber || expires != float64(got.Expires) {
			t.Errorf("exp %v, want %v", got.Expires, want["exp"])
		}
	})
}

func BenchmarkParseClaims(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.ParseClaims([]byte(payload)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecheck(b *testing.B) {
	claims, err := jose.ParseClaims([]byte(payload))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := expected.Recheck(&claims.Times, claims.Issuer, claims.Audience, noon); err != nil {
			b.Fatal(err)
		}
	}
}
