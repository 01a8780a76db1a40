package extauthz

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// addCredentials gives a fuzz target the credentials of the verdict table to start from.
func addCredentials(f *testing.F, add func(header, value string)) {
	for _, row := range verdictTable() {
		for _, h := range row.headers {
			if len(h.value) < 4096 {
				add(h.name, h.value)
			}
		}
	}
}

// FuzzFindCredential: a Bearer credential is what stands behind its scheme and nothing else; the cookie is found where net/http finds it.
func FuzzFindCredential(f *testing.F) {
	addCredentials(f, func(name, value string) {
		if name == "cookie" {
			f.Add("", value)
		} else {
			f.Add(value, "")
		}
	})
	f.Fuzz(func(t *testing.T, authorization, cookies string) {
		r := request.Request{Cookies: []string{cookies}}
		if authorization != "" {
			r.Authorization = []string{authorization}
		}
		found, err := credential.Find(&r, credential.DefaultCookie)
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
			if parsed.Name != credential.DefaultCookie && parsed.Name != credential.SecurePrefix+credential.DefaultCookie {
				continue
			}
			if parsed.Value == strings.Trim(found.Text, `" `) || parsed.Value == found.Text {
				return
			}
		}
		if _, err := credential.ParseCookie(found.Text); err == nil {
			t.Fatalf("%q: the cookie %q is a credential, and net/http finds no such", cookies, found.Text)
		}
	})
}

// FuzzParseBearer: what is taken for a credential is, put together again, what came.
func FuzzParseBearer(f *testing.F) {
	addCredentials(f, func(name, value string) {
		if token, isBearer := credential.BearerToken(value); name == "authorization" && isBearer {
			f.Add(token)
		}
	})
	f.Fuzz(func(t *testing.T, text string) {
		read, err := credential.ParseBearer(text)
		if err != nil {
			if denial := reason.Of(err); denial.Status() != http.StatusUnauthorized {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if read.Cookie {
			t.Fatalf("%q came by no cookie", text)
		}
		checkReassembles(t, text, &read)
	})
}

// FuzzParseCookie: a cookie is a signed session token or nothing.
func FuzzParseCookie(f *testing.F) {
	addCredentials(f, func(name, value string) {
		if name == "cookie" {
			f.Add(credential.SessionCookie([]string{value}, credential.DefaultCookie))
		}
	})
	f.Fuzz(func(t *testing.T, value string) {
		read, err := credential.ParseCookie(value)
		if err != nil {
			return
		}
		if read.Kind != credential.KindSession || read.Signature == "" || !read.Cookie {
			t.Fatalf("%q was read as %+v", value, read)
		}
		if len(value) >= 2 && value[0] == '"' {
			value = value[1 : len(value)-1]
		}
		checkReassembles(t, value, &read)
	})
}

func checkReassembles(t *testing.T, text string, read *credential.Credential) {
	t.Helper()
	whole := read.Token
	if read.Signature != "" {
		whole += "." + read.Signature
	}
	if read.Kind == credential.KindSession {
		decoded, err := url.PathUnescape(text)
		if err != nil || !strings.Contains(text, "%") {
			decoded = text
		}
		text = decoded
	}
	if whole != text {
		t.Fatalf("%q was read as %q", text, whole)
	}
}

// FuzzParseJWT: a token has one spelling, and its header says the same to a second parser.
func FuzzParseJWT(f *testing.F) {
	addCredentials(f, func(_, value string) {
		if token, _ := credential.BearerToken(value); credential.IsCompactJWS(token) {
			f.Add(token)
		}
	})
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := jose.Parse(token)
		if err != nil {
			return
		}
		if again := string(parsed.Signed) + "." + jose.Base64URL.EncodeToString(parsed.Signature); again != token {
			t.Fatalf("%q is also %q", token, again)
		}
		header, payload, _ := strings.Cut(string(parsed.Signed), ".")
		if again := jose.Base64URL.EncodeToString(parsed.Payload); again != payload {
			t.Fatalf("the payload %q is also %q", payload, again)
		}
		decoded, err := jose.Base64URL.DecodeString(header)
		if err != nil {
			t.Fatal(err)
		}
		var second map[string]any
		if err := json.NewDecoder(bytes.NewReader(decoded)).Decode(&second); err != nil {
			t.Fatalf("%s was read, which encoding/json refuses: %v", decoded, err)
		}
		for name, got := range map[string]string{"alg": parsed.Algorithm, "kid": parsed.KeyID} {
			if want, _ := second[name].(string); got != want {
				t.Fatalf("%s: %s is %q, want %q", decoded, name, got, want)
			}
		}
		if second["crit"] != nil || second["b64"] != nil {
			t.Fatalf("%s insists on an extension", decoded)
		}
	})
}
