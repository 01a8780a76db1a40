package extauthz

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// The headers that the backend gets. Their values are percent-encoded ([EncodeHeader]).
const (
	HeaderUserID    = "x-user-id"         // the subject
	HeaderUserEmail = "x-user-email"      // when known
	HeaderUserName  = "x-user-name"       // when known
	HeaderMethod    = "x-auth-method"     // jwks, hs256 or session
	HeaderIssuedAt  = "x-auth-issued-at"  // Unix seconds; JWT only
	HeaderExpiresAt = "x-auth-expires-at" // Unix seconds
)

var identityHeaders = []string{HeaderUserID, HeaderUserEmail, HeaderUserName, HeaderMethod, HeaderIssuedAt, HeaderExpiresAt}

// allowResponse gives the backend the identity, and takes from it whatever the client says of itself.
func allowResponse(r *request, identity Identity) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	facts := map[string]*structpb.Value{}
	set := func(header, fact, value string) {
		if value == "" {
			return // an empty value would not clear the client's header; removing it does
		}
		ok.Headers = append(ok.Headers, overwrite(header, EncodeHeader(value)))
		facts[fact] = structpb.NewStringValue(strings.ToValidUTF8(value, "\uFFFD"))
	}
	setTime := func(header, fact string, t time.Time) {
		if t.IsZero() {
			return
		}
		ok.Headers = append(ok.Headers, overwrite(header, strconv.FormatInt(t.Unix(), 10)))
		facts[fact] = structpb.NewNumberValue(float64(t.Unix()))
	}
	set(HeaderUserID, "user_id", identity.Subject)
	set(HeaderUserEmail, "user_email", identity.Email)
	set(HeaderUserName, "user_name", identity.Name)
	set(HeaderMethod, "auth_method", string(identity.Method))
	setTime(HeaderIssuedAt, "issued_at", identity.IssuedAt)
	setTime(HeaderExpiresAt, "expires_at", identity.ExpiresAt)
	ok.HeadersToRemove = headersToRemove(r, ok.Headers)
	return &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: &structpb.Struct{Fields: facts},
	}
}

// headersToRemove lists the client's own identity headers, and those of our six that this answer does
// not set: Envoy's allowed_headers may have hidden them from us. Envoy sets first and
// removes afterwards, so no name may be in both lists.
func headersToRemove(r *request, set []*corev3.HeaderValueOption) []string {
	isSet := func(name string) bool {
		return slices.ContainsFunc(set, func(h *corev3.HeaderValueOption) bool { return strings.EqualFold(h.Header.Key, name) })
	}
	var remove []string
	for _, name := range append(r.identityNames, identityHeaders...) {
		name = strings.ToLower(name)
		if !isSet(name) && !slices.Contains(remove, name) {
			remove = append(remove, name)
		}
	}
	return remove
}

// denyResponse answers as FastAPI does, so that clients need not be changed.
func denyResponse(denial *Denial) *authv3.CheckResponse {
	body, err := json.Marshal(map[string]string{"detail": denial.Detail})
	if err != nil {
		body = []byte(`{}`) // cannot be: the details are constants
	}
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(denial.Status)},
		Headers: []*corev3.HeaderValueOption{
			overwrite("content-type", "application/json"),
			overwrite("cache-control", "no-store"),
		},
		Body: string(body),
	}
	code := codes.PermissionDenied
	switch denial.Status {
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
		denied.Headers = append(denied.Headers, overwrite("www-authenticate", challenge(denial)))
	case http.StatusServiceUnavailable:
		code = codes.Unavailable
		denied.Headers = append(denied.Headers, overwrite("retry-after", "1"))
	}
	return &authv3.CheckResponse{
		Status:       &statuspb.Status{Code: int32(code), Message: denial.Detail},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"reason": structpb.NewStringValue(string(denial.Reason)),
		}},
	}
}

// challenge is RFC 6750 §3: no error code where the request brought no credential.
func challenge(denial *Denial) string {
	const realm = `Bearer realm="api"`
	if denial.Reason == ReasonMissingCredential {
		return realm
	}
	return realm + `, error="invalid_token", error_description="` + denial.Detail + `"`
}

// overwrite says the action explicitly: its zero value means append, and Envoy's releases and paths
// differ in what an absent one does.
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// EncodeHeader makes any text fit for a header's value, so that one percent-decoding gives the
// original back: printable ASCII stays, except "%" and a space at either end; every other byte of
// the UTF-8 becomes %XX (RFC 3986 §2.1).
func EncodeHeader(value string) string {
	plain := func(i int) bool {
		switch c := value[i]; {
		case c == ' ':
			return i > 0 && i < len(value)-1
		default:
			return c > ' ' && c <= '~' && c != '%'
		}
	}
	first := 0
	for first < len(value) && plain(first) {
		first++
	}
	if first == len(value) {
		return value
	}
	const digits = "0123456789ABCDEF"
	encoded := make([]byte, 0, len(value)+16)
	for i := range len(value) {
		if plain(i) {
			encoded = append(encoded, value[i])
		} else {
			encoded = append(encoded, '%', digits[value[i]>>4], digits[value[i]&15])
		}
	}
	return string(encoded)
}
