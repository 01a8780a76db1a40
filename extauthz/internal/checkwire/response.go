package checkwire

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// allowedFact is one thing that an allow tells of the user, as a header and as dynamic metadata.
type allowedFact struct {
	header, encoded string // what the backend gets
	name, text      string // what access logs and rules get
	number          float64
	isNumber        bool
}

// commonFacts is how many facts of one user are told without more memory.
const commonFacts = len(identity.Facts) + 8

// allowedFacts adds what is known of the user to facts. What is not known is left out: an empty value would not clear
// the client's header, removing it does.
func allowedFacts(facts []allowedFact, who *identity.Identity) []allowedFact {
	for i := range identity.Facts {
		known := &identity.Facts[i]
		fact := allowedFact{header: known.Header, name: known.Metadata}
		if known.Time != nil {
			t := known.Time(*who)
			if t.IsZero() {
				continue
			}
			fact.encoded, fact.number, fact.isNumber = strconv.FormatInt(t.Unix(), 10), float64(t.Unix()), true
		} else {
			text := known.Text(*who)
			if text == "" {
				continue
			}
			fact.encoded, fact.text = EncodeHeader(text), strings.ToValidUTF8(text, "\uFFFD")
		}
		facts = append(facts, fact)
	}
	for i := range who.Further {
		further := &who.Further[i]
		if further.Header == "" || further.Value == "" || who.Subject == "" {
			continue
		}
		facts = append(facts, allowedFact{
			header: further.Header, encoded: EncodeHeader(further.Value),
			name: identity.Metadata(further.Header), text: strings.ToValidUTF8(further.Value, "\uFFFD"),
		})
	}
	return facts
}

// AllowResponse gives the backend the identity, and takes from it whatever the client says of itself. further are the
// headers that may be set beside those that always may.
func AllowResponse(r *request.Request, who identity.Identity, further ...string) *authv3.CheckResponse {
	facts := allowedFacts(make([]allowedFact, 0, commonFacts), &who)
	ok := &authv3.OkHttpResponse{HeadersToRemove: HeadersToRemove(r, facts, further)}
	metadata := make(map[string]*structpb.Value, len(facts))
	for _, fact := range facts {
		ok.Headers = append(ok.Headers, overwrite(fact.header, fact.encoded))
		if fact.isNumber {
			metadata[fact.name] = structpb.NewNumberValue(fact.number)
		} else {
			metadata[fact.name] = structpb.NewStringValue(fact.text)
		}
	}
	return &authv3.CheckResponse{
		Status:          &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: &structpb.Struct{Fields: metadata},
	}
}

// HeadersToRemove lists the client's own identity headers, and those of ours, further ones with them, that this answer
// does not set: Envoy's allowed_headers may have hidden them from us. Envoy sets first and removes afterwards, so no
// name may be in both lists.
func HeadersToRemove(r *request.Request, set []allowedFact, further []string) []string {
	isSet := func(name string) bool {
		return slices.ContainsFunc(set, func(fact allowedFact) bool { return fact.header == name })
	}
	var (
		remove []string
		known  map[string]bool // what remove holds, once that is long: a client may send thousands
	)
	add := func(name string) {
		switch {
		case isSet(name):
			return
		case len(remove) < fewNames:
			if slices.Contains(remove, name) {
				return
			}
		case known == nil:
			known = make(map[string]bool, len(r.IdentityNames))
			for _, earlier := range remove {
				known[earlier] = true
			}
			fallthrough
		default:
			if known[name] {
				return
			}
			known[name] = true
		}
		remove = append(remove, name)
	}
	for _, name := range r.IdentityNames {
		add(strings.ToLower(name))
	}
	for i := range identity.Facts {
		add(identity.Facts[i].Header)
	}
	for _, name := range further {
		add(name)
	}
	return remove
}

// fewNames is how many names are compared with each other without a map.
const fewNames = 16

// The names in the dynamic metadata that are no identity's.
const (
	MetadataReason = "reason" // of a denial
)

// DenyResponse answers as FastAPI does, so that clients need not be changed.
func DenyResponse(denial *reason.Denial) *authv3.CheckResponse {
	body, err := json.Marshal(map[string]string{"detail": denial.Detail()})
	if err != nil {
		body = []byte(`{}`) // cannot be: the details are constants
	}
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(denial.Status())},
		Headers: []*corev3.HeaderValueOption{
			overwrite("content-type", "application/json"),
			overwrite("cache-control", "no-store"),
		},
		Body: string(body),
	}
	code := codes.PermissionDenied
	switch denial.Status() {
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
		denied.Headers = append(denied.Headers, overwrite("www-authenticate", challenge(denial)))
	case http.StatusServiceUnavailable:
		code = codes.Unavailable
		denied.Headers = append(denied.Headers, overwrite("retry-after", "1"))
	}
	return &authv3.CheckResponse{
		Status:       &statuspb.Status{Code: int32(code), Message: denial.Detail()},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			MetadataReason: structpb.NewStringValue(string(denial.Reason())),
		}},
	}
}

// challenge is RFC 6750 §3: no error code where the request brought no credential.
func challenge(denial *reason.Denial) string {
	const realm = `Bearer realm="api"`
	if denial.IsMissing() {
		return realm
	}
	return realm + `, error="invalid_token", error_description="` + denial.Detail() + `"`
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
