package route_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/jose"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/route"
)

var ours = []string{"https://api.example.com", "https://admin.example.com"}

// tokenOf is a token with these claims, whose signature nobody looks at here.
func tokenOf(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode([]byte(payload)) + ".AA"
}

// check is the reason that a route with these settings refuses a credential for; settings that cannot be read refuse all.
func check(settings []request.Setting, method identity.Method, token string) reason.Reason {
	rules, err := route.Read(settings, ours, []identity.Method{identity.MethodJWKS, identity.MethodHS256, identity.MethodSession})
	if err == nil {
		err = rules.Check(method, method != identity.MethodSession, token)
	}
	if err == nil {
		return ""
	}
	return reason.Of(err).Reason()
}

// A route only narrows: what it asks for is held against the credential, and a setting that is not understood refuses all.
func TestRules(t *testing.T) {
	token := tokenOf(`{"exp":1,"aud":"https://api.example.com","role":"admin","level":7,"staff":true,"groups":["a",["b"],null]}`)
	for name, row := range map[string]struct {
		value  string
		method identity.Method
		want   reason.Reason
	}{
		"methods":                       {"jwks, hs256", identity.MethodJWKS, ""},
		"methods ":                      {"jwks", identity.MethodJWKS, reason.BadRouteSettings},
		"methods/another":               {"session", identity.MethodJWKS, reason.MethodRefused},
		"methods/unknown":               {"jwks,other", identity.MethodJWKS, reason.BadRouteSettings},
		"methods/empty":                 {"", identity.MethodJWKS, reason.BadRouteSettings},
		"audience":                      {"https://api.example.com", identity.MethodJWKS, ""},
		"audience/another of ours":      {"https://admin.example.com", identity.MethodJWKS, reason.WrongAudience},
		"audience/none of ours":         {"https://evil.example", identity.MethodJWKS, reason.BadRouteSettings},
		"audience/of a session":         {"https://admin.example.com", identity.MethodSession, ""},
		"optional":                      {"true", identity.MethodJWKS, ""},
		"optional/odd":                  {"yes", identity.MethodJWKS, reason.BadRouteSettings},
		"claim.role":                    {"admin", identity.MethodJWKS, ""},
		"claim.role/another":            {"adm", identity.MethodJWKS, reason.ClaimRequired},
		"claim.role/of a session":       {"admin", identity.MethodSession, reason.ClaimRequired},
		"claim.role/empty":              {"", identity.MethodJWKS, reason.BadRouteSettings},
		"claim.level":                   {"7", identity.MethodJWKS, ""},
		"claim.level/another":           {"7.0", identity.MethodJWKS, reason.ClaimRequired},
		"claim.staff":                   {"true", identity.MethodJWKS, ""},
		"claim.groups":                  {"a", identity.MethodJWKS, ""},
		"claim.groups/within a list":    {"b", identity.MethodJWKS, reason.ClaimRequired},
		"claim.groups/null":             {"null", identity.MethodJWKS, reason.ClaimRequired},
		"claim.missing":                 {"a", identity.MethodJWKS, reason.ClaimRequired},
		"claim.":                        {"a", identity.MethodJWKS, reason.BadRouteSettings},
		"audiance":                      {"https://api.example.com", identity.MethodJWKS, reason.BadRouteSettings},
		"claim.role/twice of one value": {"admin", identity.MethodHS256, ""},
	} {
		setting, _, _ := strings.Cut(name, "/")
		if got := check([]request.Setting{{Name: setting, Value: row.value}}, row.method, token); got != row.want {
			t.Errorf("%s=%q: reason %q, expected %q", name, row.value, got, row.want)
		}
	}
}

// FuzzRules: a route with a claim lets in no token that does not have it, by a second reading of its claims.
func FuzzRules(f *testing.F) {
	f.Add("role", "admin", `{"exp":1,"role":"admin"}`)
	f.Add("role", "admin", `{"exp":1,"role":["user","admin"]}`)
	f.Add("role", "7", `{"exp":1,"role":7,"r\u006fle":8}`)
	f.Add("role", "true", `{"exp":1,"role":[true,[false]]}`)
	f.Add("role", "null", `{"exp":1,"role":null}`)
	f.Fuzz(func(t *testing.T, name, value, payload string) {
		if check([]request.Setting{{Name: "claim." + name, Value: value}}, identity.MethodJWKS, tokenOf(payload)) != "" {
			return
		}
		var claims map[string]json.RawMessage
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("%s was read, which encoding/json refuses: %v", payload, err)
		}
		held := []json.RawMessage{claims[name]}
		if raw := claims[name]; len(raw) > 0 && raw[0] == '[' {
			if err := json.Unmarshal(raw, &held); err != nil {
				t.Fatal(err)
			}
		}
		for _, one := range held {
			var text string
			if string(one) == value || json.Unmarshal(one, &text) == nil && len(one) > 0 && one[0] == '"' && text == value {
				return
			}
		}
		t.Fatalf("claim %q with %q is not in %s", name, value, payload)
	})
}

func BenchmarkCheck(b *testing.B) {
	settings := []request.Setting{{Name: "audience", Value: ours[0]}, {Name: "claim.role", Value: "admin"}}
	token := tokenOf(`{"exp":1,"aud":"https://api.example.com","role":"admin","sub":"user-1","email":"zoe@example.com"}`)
	if _, err := jose.Parse(token); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if why := check(settings, identity.MethodJWKS, token); why != "" {
			b.Fatal(why)
		}
	}
}
