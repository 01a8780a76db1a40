package credential_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

const sessionCookie = "better-auth.session_token"

const (
	jwt       = "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJ1c2VyLTEiLCJleHAiOjF9.c2lnbmF0dXJl"
	byHS256   = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEiLCJleHAiOjF9.c2lnbmF0dXJl"
	byNone    = "eyJhbGciOiJub25lIn0.e30."
	raw       = "LiveLiveLiveLiveLiveLiveLiveLive"
	signature = "Zm9yIGEgdGVzdCwgYW5kIG9mIG5vIHNlY3JldCBhdCE="
	signed    = raw + "." + signature
	escaped   = raw + ".Zm9yIGEgdGVzdCwgYW5kIG9mIG5vIHNlY3JldCBhdCE%3D"
	encrypted = "eyJhbGciOiJkaXIifQ..aXY.dGV4dA.dGFn"
)

// credentials are those whose shapes must be told apart, and texts that have none.
var credentials = []string{
	"", jwt, byHS256, byNone, raw, signed, escaped, encrypted, jwt + ".", "." + jwt, jwt + "=", jwt + "\n", strings.ToLower(jwt),
	raw + ".", raw + "." + signature[1:], raw + ".." + signature, signed + "." + signature, strings.TrimSuffix(signed, "="), escaped + "%",
	"%2e%2E" + escaped, raw + "%00", raw + "%2C", "a b", "a;b", `a"b`, `a\b`, "é", strings.Repeat("a", 257), "a,b", "%zz", "+",
}

// authorizations are the fields that credentials come in.
var authorizations = []string{
	"Bearer ", "bearer ", "BEARER  ", " Bearer ", "Bearer\t", "Bearer", "Bearer, ", "BearerX ", "Basic ", "Basic, Bearer ", "",
}

// cookies are the fields around a cookie's value.
var cookies = []string{
	sessionCookie + "=%s", "__Secure-" + sessionCookie + "=%s", "a=b; " + sessionCookie + "=%s; c=d", sessionCookie + `="%s"`,
	sessionCookie + "=%[1]s; " + sessionCookie + "=other", sessionCookie + "=other; __Secure-" + sessionCookie + "=%s",
	sessionCookie + " = %s", sessionCookie + "_multi-a=%s", "a," + sessionCookie + "=%s", "%s",
}

// FuzzFindCredential: a Bearer credential is what stands behind its scheme and nothing else; the cookie is found where net/http finds it.
func FuzzFindCredential(f *testing.F) {
	for _, text := range credentials {
		for _, scheme := range authorizations {
			f.Add(scheme+text, "")
		}
		for _, cookie := range cookies {
			f.Add("", fmt.Sprintf(cookie, text))
			f.Add("Basic "+text, fmt.Sprintf(cookie, text))
		}
	}
	f.Fuzz(func(t *testing.T, authorization, cookies string) {
		r := request.Request{Cookies: []string{cookies}}
		if authorization != "" {
			r.Authorization = []string{authorization}
		}
		found, err := credential.Find(&r, []string{sessionCookie})
		if err != nil {
			if reason.Of(err).Status() != http.StatusUnauthorized {
				t.Fatalf("%v", err)
			}
			return
		}
		if strings.Contains(authorization, ",") {
			t.Fatalf("%q holds a comma and was read", authorization)
		}
		if !found.Cookie {
			scheme, rest := authorization, ""
			if i := strings.Index(strings.ToLower(authorization), "bearer"); i >= 0 {
				scheme, rest = authorization[:i], authorization[i+len("bearer"):]
			}
			if strings.Trim(scheme, " \t") != "" || strings.Trim(rest, " \t") != strings.Trim(found.Text, " \t") {
				t.Fatalf("%q was read as %q", authorization, found.Text)
			}
			return
		}
		// A second parser finds a cookie of that name, with that value, wherever it reads the field at all.
		for _, parsed := range (&http.Request{Header: http.Header{"Cookie": {cookies}}}).Cookies() {
			if parsed.Name != sessionCookie && parsed.Name != credential.SecurePrefix+sessionCookie {
				continue
			}
			if parsed.Value == strings.Trim(found.Text, `" `) || parsed.Value == found.Text {
				return
			}
		}
		if _, err := issuer.Kinds().Recognize(found); err == nil {
			t.Fatalf("%q: the cookie %q is a credential, and net/http finds no such", cookies, found.Text)
		}
	})
}

// BenchmarkFind is what each check does first, for a Bearer token and for a cookie among others.
func BenchmarkFind(b *testing.B) {
	for name, r := range map[string]request.Request{
		"bearer": {Authorization: []string{"Bearer " + jwt}},
		"cookie": {Cookies: []string{"theme=dark; session=" + jwt + "; " + sessionCookie + "=" + escaped}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := credential.Find(&r, []string{sessionCookie}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
