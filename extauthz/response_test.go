package extauthz

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// expectDenial checks everything that a denial carries.
func expectDenial(t *testing.T, response *authv3.CheckResponse, code Reason) {
	t.Helper()
	fact := reason.FactOf(code)
	denied := response.GetDeniedResponse()
	if denied == nil {
		t.Fatalf("allowed, want %s", code)
	}
	if got := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != string(code) {
		t.Fatalf("reason %s, want %s", got, code)
	}
	if got := int(denied.GetStatus().GetCode()); got != fact.Status {
		t.Errorf("status %d, want %d", got, fact.Status)
	}
	if code := response.GetStatus().GetCode(); code == 0 {
		t.Error("the gRPC status is OK, which means allow")
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(denied.GetBody()), &body); err != nil || len(body) != 1 || body["detail"] != fact.Detail {
		t.Errorf("body %s, want the detail %q", denied.GetBody(), fact.Detail)
	}
	got := headerMap(t, denied.GetHeaders())
	want := map[string]string{"content-type": "application/json", "cache-control": "no-store"}
	switch {
	case fact.Detail == reason.DetailMissing:
		want["www-authenticate"] = `Bearer realm="api"`
	case fact.Status == 401:
		want["www-authenticate"] = `Bearer realm="api", error="invalid_token", error_description="` + fact.Detail + `"`
	case fact.Status == 503:
		want["retry-after"] = "1"
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("headers %v, want %v", got, want)
	}
}

// expectAllowed checks what every allow must have, and who was allowed.
func expectAllowed(t *testing.T, response *authv3.CheckResponse, want Identity) {
	t.Helper()
	ok := response.GetOkResponse()
	if ok == nil || response.GetStatus().GetCode() != 0 {
		t.Fatalf("denied (%s), want %s by %s", response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), want.Subject, want.Method)
	}
	got := headerMap(t, ok.GetHeaders())
	if got[identity.HeaderUserID] != checkwire.EncodeHeader(want.Subject) || got[identity.HeaderMethod] != string(want.Method) {
		t.Errorf("%s by %s, want %s by %s", got[identity.HeaderUserID], got[identity.HeaderMethod], want.Subject, want.Method)
	}
	if got[identity.HeaderExpiresAt] == "" {
		t.Error("no " + identity.HeaderExpiresAt)
	}
	for _, name := range identity.Headers() {
		_, isSet := got[name]
		if isRemoved := slices.Contains(ok.GetHeadersToRemove(), name); isSet == isRemoved {
			t.Errorf("%s: set %v, removed %v; want one of the two", name, isSet, isRemoved)
		}
	}
}

// headerMap also checks that each header says OVERWRITE_IF_EXISTS_OR_ADD, stands once and cannot break a line.
func headerMap(t *testing.T, options []*corev3.HeaderValueOption) map[string]string {
	t.Helper()
	headers := map[string]string{}
	for _, option := range options {
		name, value := option.GetHeader().GetKey(), option.GetHeader().GetValue()
		if option.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s: append action %s", name, option.GetAppendAction())
		}
		if _, twice := headers[name]; twice {
			t.Errorf("%s stands twice", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q is not printable ASCII", name, value)
		}
		headers[name] = value
	}
	return headers
}

func TestAllowResponse(t *testing.T) {
	full := Identity{
		Subject: "user-1", Email: "zoe@example.com", Name: "Zoë Day", Method: identity.MethodJWKS,
		IssuedAt: time.Unix(1700000000, 0), ExpiresAt: time.Unix(1700000900, 0),
	}
	bare := Identity{Subject: "user-1", Method: identity.MethodSession, ExpiresAt: time.Unix(1700000900, 0)}
	for _, row := range []struct {
		title    string
		identity Identity
		client   []string // names of the client's own headers
		set      map[string]string
		remove   []string
	}{
		{"all facts known", full, nil, map[string]string{
			"x-user-id": "user-1", "x-user-email": "zoe@example.com", "x-user-name": "Zo%C3%AB Day", "x-auth-method": "jwks",
			"x-auth-issued-at": "1700000000", "x-auth-expires-at": "1700000900"}, []string{"x-auth-issuer"}},
		{"few facts known", bare, nil, map[string]string{
			"x-user-id": "user-1", "x-auth-method": "session", "x-auth-expires-at": "1700000900"},
			[]string{"x-user-email", "x-user-name", "x-auth-issued-at", "x-auth-issuer"}},
		{"the client's own headers", full,
			[]string{"x-user-id", "x_user_id", "X-User-Role", "x-auth_token", "x-auth-request-email", "x-userid", "x-authority", "x-request-id"}, map[string]string{
				"x-user-id": "user-1", "x-user-email": "zoe@example.com", "x-user-name": "Zo%C3%AB Day", "x-auth-method": "jwks",
				"x-auth-issued-at": "1700000000", "x-auth-expires-at": "1700000900"},
			[]string{"x_user_id", "x-user-role", "x-auth_token", "x-auth-request-email", "x-auth-issuer"}},
		{"a client's header that is not set, shown and repeated", bare, []string{"x-user-email", "x-user-email"}, map[string]string{
			"x-user-id": "user-1", "x-auth-method": "session", "x-auth-expires-at": "1700000900"},
			[]string{"x-user-email", "x-user-name", "x-auth-issued-at", "x-auth-issuer"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			var r request.Request
			for _, name := range row.client {
				r.ReadHeader(name, "spoofed")
			}
			ok := checkwire.AllowResponse(&r, row.identity).GetOkResponse()
			got := headerMap(t, ok.GetHeaders())
			for name, value := range row.set {
				if got[name] != value {
					t.Errorf("%s: %q, want %q", name, got[name], value)
				}
			}
			if len(got) != len(row.set) {
				t.Errorf("set %v, want %v", got, row.set)
			}
			remove := slices.Clone(ok.GetHeadersToRemove())
			slices.Sort(remove)
			slices.Sort(row.remove)
			if !slices.Equal(remove, row.remove) {
				t.Errorf("remove %v, want %v", remove, row.remove)
			}
		})
	}
}

func TestDynamicMetadata(t *testing.T) {
	response := checkwire.AllowResponse(&request.Request{}, Identity{Subject: "user-1", Name: "Zoë Day", Method: identity.MethodJWKS, ExpiresAt: time.Unix(1700000900, 0)})
	got := response.GetDynamicMetadata().AsMap()
	want := map[string]any{"user_id": "user-1", "user_name": "Zoë Day", "auth_method": "jwks", "expires_at": 1700000900.0}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %v, want %v", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEncodeHeader(t *testing.T) {
	for plain, want := range map[string]string{
		"Zoë Day":         "Zo%C3%AB Day",
		"100%":            "100%25",
		" both ends ":     "%20both ends%20",
		" ":               "%20",
		"":                "",
		"a\r\nx-user-id:": "a%0D%0Ax-user-id:",
		"tab\tdel\x7f":    "tab%09del%7F",
		"~!\"#$&'()*+,/":  "~!\"#$&'()*+,/",
		"日本":              "%E6%97%A5%E6%9C%AC",
	} {
		if got := checkwire.EncodeHeader(plain); got != want {
			t.Errorf("%q becomes %q, want %q", plain, got, want)
		}
	}
}
