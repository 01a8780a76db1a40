package request_test

import (
	"strings"
	"testing"

	"extauthz/extauthz/internal/request"
)

// FuzzIsIdentityName: a name is an identity's if a server that folds all but letters and digits into hyphens reads it so.
func FuzzIsIdentityName(f *testing.F) {
	for _, name := range []string{"x-user-id", "X_User_Id", "x.auth.method", "x-users", "xx-user-id", "x-user", "x-user-", "x@auth[a", "x-\u017fer-a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return // no header's name (RFC 9110 §5.1)
		}
		folded := strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
				return r
			}
			return '-'
		}, strings.ToLower(name))
		want := strings.HasPrefix(folded, "x-user-") || strings.HasPrefix(folded, "x-auth-")
		if got := request.IsIdentityName(name); got != want {
			t.Errorf("%q: %t, expected %t", name, got, want)
		}
	})
}

func BenchmarkReadHeader(b *testing.B) {
	headers := [][2]string{{"authorization", "Bearer a"}, {"accept", "application/json"}, {"user-agent", "Mozilla/5.0"}, {"x-request-id", "7"},
		{"sec-fetch-site", "same-origin"}, {"x-forwarded-proto", "https"}, {":authority", "api.example.com"}, {"accept-language", "de"}}
	var r request.Request
	b.ReportAllocs()
	for b.Loop() {
		r = request.Request{Authorization: r.Authorization[:0], SecFetchSite: r.SecFetchSite[:0]} // as a call is used again
		for _, h := range headers {
			r.ReadHeader(h[0], h[1])
		}
		r.Finish()
	}
}
