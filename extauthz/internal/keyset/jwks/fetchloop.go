package jwks

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"extauthz/extauthz/internal/reason"
)

// A JWKS that is fetched through Envoy, where its route is checked by extauthz, is never had: a check of that route
// wants a credential, and the keys that would verify it are those that are fetched. The answers tell it.
const (
	LoopHint = "the JWKS is fetched through an Envoy that has extauthz check this very route: turn the check off for it " +
		"there (Better Auth's /api/auth/ is open by itself), or set Config.JWKSURL to the issuer's own address, behind Envoy"
	mayLoopHint = "this is Envoy's own answer: if that Envoy has extauthz check the JWKS's route, turn the check off " +
		"for it there, or set Config.JWKSURL to the issuer's own address, behind Envoy"
)

// maxDenial bounds what is read of an answer that may be a denial of extauthz.
const maxDenial = 4 << 10

// refused says what is behind an answer that is not 200.
func refused(response *http.Response) Fetched {
	got := Fetched{Result: ResultStatus, Err: fmt.Errorf("status %d", response.StatusCode),
		RetryAfter: RetryAfter(response.Header)}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDenial))
	if err != nil {
		return got
	}
	switch {
	case isDenial(response, body):
		got.Err = fmt.Errorf("status %d, by extauthz", response.StatusCode)
		got.Loop, got.RetryAfter = LoopHint, 0 // the issuer did not say it
	case len(body) == 0 && response.Header.Get("Server") == "envoy" &&
		(response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusServiceUnavailable):
		got.Loop = mayLoopHint
	}
	return got
}

// isDenial tells whether an answer is extauthz's to a request without a credential: by its body, and for 401 its
// challenge.
func isDenial(response *http.Response, body []byte) bool {
	var denial map[string]string
	if json.Unmarshal(body, &denial) != nil || len(denial) != 1 {
		return false
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return denial["detail"] == reason.DetailMissing &&
			strings.HasPrefix(response.Header.Get("Www-Authenticate"), "Bearer realm=")
	case http.StatusServiceUnavailable:
		return denial["detail"] == reason.DetailUnavailable
	}
	return false
}
