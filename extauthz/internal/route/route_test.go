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
	rules, err := route.Read(settings, ours, []identity.Method{identity.MethodJWKS, identity.MethodHS256, identity.MethodSession},
		func(string) bool { return false })
	if err == nil {
		_, err = rules.Check(method, method != identity.MethodSession, token, &identity.Identity{Email: "zoe@example.com"}, new(identity.Table))
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
		"claim.role/of a list":          {"admin", identity.MethodHS256, ""},
		"claim.email/of a session":      {"zoe@example.com", identity.MethodSession, ""},
		"role":                          {"user,admin", identity.MethodJWKS, ""},
		"role/another":                  {"user", identity.MethodJWKS, reason.ClaimRequired},
		"role/an empty one":             {"admin,", identity.MethodJWKS, reason.BadRouteSettings},
		"role/of a session":             {"admin", identity.MethodSession, reason.ClaimRequired},
		"organization":                  {"org-1", identity.MethodJWKS, reason.ClaimRequired},
		"organization/of a session":     {"org-1", identity.MethodSession, reason.ClaimRequired},
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
	f.Add("o.id", "7", `{"exp":1,"o":{"id":"7"},"o.x":1}`)
	f.Add("https://a.b/role", "x", `{"exp":1,"https://a":{"b/role":"y"},"https://a.b/role":"x,z"}`)
	f.Add("scope", "write", `{"exp":1,"scope":"read write"}`)
	f.Add("role", "null", `{"exp":1,"role":null}`)
	f.Fuzz(func(t *testing.T, name, value, payload string) {
		if check([]request.Setting{{Name: "claim." + name, Value: value}}, identity.MethodJWKS, tokenOf(payload)) != "" {
			return
		}
		var held []json.RawMessage
		for _, raw := range readings(t, json.RawMessage(payload), name) {
			var list []json.RawMessage
			if len(raw) > 0 && raw[0] == '[' {
				if err := json.Unmarshal(raw, &list); err != nil {
					t.Fatal(err)
				}
			}
			held = append(held, list...)
			var text string
			if separator := map[string]string{"role": ",", "roles": ",", "scope": " ", "scopes": " ", "scp": " "}[strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])]; separator != "" && json.Unmarshal(raw, &text) == nil {
				for entry := range strings.SplitSeq(text, separator) {
					quoted, _ := json.Marshal(strings.TrimSpace(entry))
					held = append(held, quoted)
				}
			}
			held = append(held, raw)
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

// readings are the values that a name may mean: a member of it, or one within an object, at any of its dots.
func readings(t *testing.T, object json.RawMessage, name string) (values []json.RawMessage) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatalf("%s was read, which encoding/json refuses: %v", object, err)
	}
	for member, value := range members {
		rest, isWithin := strings.CutPrefix(name, member+".")
		switch {
		case member == name:
			values = append(values, value)
		case isWithin && len(value) > 0 && value[0] == '{':
			values = append(values, readings(t, value, rest)...)
		}
	}
	return values
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
