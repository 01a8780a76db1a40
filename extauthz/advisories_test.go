package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/reason"
)

// What went wrong in other authorization servers and token libraries, each by its advisory's or issue's name. docs/security.md lists them.
func TestAdvisories(t *testing.T) {
	s := signers()
	ed := s["ed"]
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	good := ed.issue(goodClaims(nil))
	check := func(t *testing.T, method string, headers ...header) []*authv3.CheckResponse {
		t.Helper()
		var responses []*authv3.CheckResponse
		for _, request := range wire {
			response, err := a.Check(t.Context(), request(method, headers))
			if err != nil {
				t.Fatal(err)
			}
			responses = append(responses, response)
		}
		return responses
	}
	expect := func(t *testing.T, reason Reason, headers ...header) {
		t.Helper()
		for _, response := range check(t, "GET", headers...) {
			expectReason(t, Reason(response.GetDynamicMetadata().GetFields()[checkwire.MetadataReason].GetStringValue()), reason)
			if (response.GetOkResponse() != nil) != (reason == "") {
				t.Errorf("%v", response)
			}
		}
	}

	t.Run("CVE-2026-40575, oauth2-proxy: the client's X-Forwarded-Uri chose the rule", func(t *testing.T) {
		for _, name := range []string{"x-forwarded-uri", "x-original-url", "x-original-uri", "x-rewrite-url", "x-forwarded-method", "x-http-method-override", "x-envoy-original-path", "x-auth-request-redirect"} {
			for _, value := range []string{"/healthz", "/public", "OPTIONS", "https://api.example.com/api/auth/ok"} {
				expect(t, ReasonMissingCredential, header{name, value})
				for _, response := range check(t, "POST", append(cookie(url.QueryEscape(signedSession(liveToken, testSecret))), header{"sec-fetch-site", "cross-site"}, header{name, value})...) {
					expectDenial(t, response, ReasonCrossSite)
				}
			}
		}
	})
	t.Run("CVE-2025-64484, oauth2-proxy: identity headers with underscores passed", func(t *testing.T) {
		for _, name := range []string{"x_user_id", "X_User_Id", "x-user_id", "x_user-email", "x_auth_method", "X-AUTH_ISSUED-AT"} {
			for _, response := range check(t, "GET", append(bearer(good), header{name, "admin"})...) {
				if !slices.Contains(response.GetOkResponse().GetHeadersToRemove(), strings.ToLower(name)) {
					t.Errorf("%s stays", name)
				}
			}
		}
	})
	t.Run("CVE-2026-25748, authentik: a malformed cookie passed, with nobody's identity", func(t *testing.T) {
		signed := url.QueryEscape(signedSession(liveToken, testSecret))
		for _, value := range []string{"%", "%zz", signed + "%", signed[:20], "\x00", "\xff\xfe", `"` + signed, signed + `"`, `"`, "a=b", strings.Repeat("%25", 1000), signed + "\x80"} {
			for _, response := range check(t, "GET", cookie(value)...) {
				if denied := response.GetDeniedResponse(); denied == nil || denied.GetStatus().GetCode() != http.StatusUnauthorized {
					t.Errorf("%q: %v", value, response)
				}
			}
		}
		for _, headers := range [][]header{bearer(good), bearer(liveToken), cookie(signed)} { // and whatever passes has an identity
			for _, response := range check(t, "GET", headers...) {
				if !slices.ContainsFunc(response.GetOkResponse().GetHeaders(), func(option *corev3.HeaderValueOption) bool {
					return option.GetHeader().GetKey() == identity.HeaderUserID && option.GetHeader().GetValue() != ""
				}) {
					t.Errorf("%v has no %s", headers, identity.HeaderUserID)
				}
			}
		}
	})
	t.Run("CVE-2021-32777, Envoy: of repeated headers only the last was checked", func(t *testing.T) {
		forged := good[:len(good)-8] + "AAAAAAAA"
		for _, pair := range [][2]string{{good, forged}, {forged, good}, {good, good}} {
			expect(t, ReasonRepeatedAuthorization, header{"authorization", "Bearer " + pair[0]}, header{"authorization", "Bearer " + pair[1]})
			expect(t, ReasonRepeatedAuthorization, header{"authorization", "Bearer " + pair[0] + ", Bearer " + pair[1]})
		}
	})
	t.Run("CVE-2025-64527, Envoy: a crash while fetching the JWKS", func(t *testing.T) {
		issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
		withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
			expectReason(t, decideToken(t, a, ed, "ed"), "")
			for _, answer := range []func(*http.Request) (*http.Response, error){
				func(*http.Request) (*http.Response, error) { return nil, errors.New("no answer") },
				func(*http.Request) (*http.Response, error) { return nil, nil },
				func(*http.Request) (*http.Response, error) { return httpAnswer(0, nil), nil },
				func(*http.Request) (*http.Response, error) { return httpAnswer(http.StatusOK, nil), nil },
				func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(io.MultiReader(strings.NewReader(`{"keys":[`), brokenReader{}))}, nil
				},
				hang,
			} {
				issuer.setAnswer(answer)
				time.Sleep(time.Second)
				expectReason(t, decideToken(t, a, ed, "ed"), "")                               // the keys stay
				if code := decideToken(t, a, ed, "other"); reason.FactOf(code).Status != 503 { // and nobody is called a forger
					t.Errorf("reason %s", code)
				}
			}
			issuer.setAnswer(nil)
			time.Sleep(keyset.RefreshInterval)
			expectReason(t, decideToken(t, a, ed, "ed"), "")
		})
	})
	t.Run("CVE-2021-32701, Oathkeeper: a remembered verdict served another scope", func(t *testing.T) {
		expect(t, "", bearer(good)...) // it is remembered now
		for setting, reason := range map[[2]string]Reason{{"audience", "https://other.example.com"}: ReasonWrongAudience, {"methods", "session"}: ReasonMethodRefused, {"claim.role", "admin"}: ReasonClaimRequired} {
			in := bearerRequest(good)
			in.Attributes.ContextExtensions = map[string]string{setting[0]: setting[1]}
			for range 2 {
				response, err := a.Check(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				expectDenial(t, response, reason)
			}
		}
		expect(t, "", bearer(good)...)
	})
	t.Run("GHSA-rp9m-7r4c-75qg, fast-jwt: the memory's key was less than the token", func(t *testing.T) {
		expect(t, "", bearer(good)...)
		first, last := strings.IndexByte(good, '.'), strings.LastIndexByte(good, '.')
		other := ed.issue(goodClaims(map[string]any{"sub": "admin"}))
		expect(t, ReasonBadSignature, bearer(good[:last]+other[strings.LastIndexByte(other, '.'):])...)                   // header and claims of one
		expect(t, ReasonBadSignature, bearer(other[:strings.LastIndexByte(other, '.')]+good[last:])...)                   // signature of one
		expect(t, ReasonBadSignature, bearer(good[:first]+other[first:strings.LastIndexByte(other, '.')]+good[last:])...) // header and signature
	})
	t.Run("GHSA-675f-rq2r-jw82, jwkset: a withdrawn key still counted", func(t *testing.T) {
		issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
		withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
			token := ed.issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
			expectReason(t, checkToken(t, a, token), "")
			issuer.set(s["es256"].jwk(nil))
			a.Refresh()
			time.Sleep(2 * keyset.FetchSpacing)
			expectReason(t, checkToken(t, a, token), ReasonUnknownKey)
			issuer.set() // and when none is left
			a.Refresh()
			time.Sleep(2 * keyset.FetchSpacing)
			expectReason(t, checkToken(t, a, token), ReasonUnknownKey)
		})
	})
	t.Run("Authorino #650: open on a timeout", func(t *testing.T) {
		late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		given, giveUp := context.WithCancel(t.Context())
		giveUp()
		for _, ctx := range []context.Context{late, given} {
			for _, token := range []string{unknownToken, signer{"EdDSA", "made-up", ed.private}.issue(goodClaims(nil))} {
				response, err := a.Check(ctx, bearerRequest(token))
				if err != nil || response.GetOkResponse() != nil {
					t.Errorf("%v %v", response, err)
				}
			}
		}
	})
	t.Run("Authorino #652: a panic on odd input", func(t *testing.T) { // FuzzCheck goes on from here
		for _, value := range []string{"Bearer .", "Bearer ..", "Bearer ...", "Bearer e30.e30.", "Bearer e30.e30.e30", "Bearer bnVsbA.bnVsbA.bnVsbA", "Bearer W10.W10.W10", "Bearer \xff.\xff.\xff", "\x00", "Bearer %00.%00", strings.Repeat("Bearer ", 1000)} {
			for _, response := range check(t, "", header{"authorization", value}, header{"cookie", value}) {
				if denied := response.GetDeniedResponse(); denied == nil || denied.GetStatus().GetCode() != http.StatusUnauthorized {
					t.Errorf("%q: %v", value, response)
				}
			}
		}
	})
	t.Run("go-oidc #482: a made-up kid for each token floods the issuer", func(t *testing.T) {
		issuer := &fakeIssuer{keys: []map[string]any{ed.jwk(nil)}}
		withIssuer(t, issuer, func(t *testing.T, a *Authorizer) {
			before := issuer.count()
			for i := range 100 {
				go checkToken(t, a, signer{"EdDSA", fmt.Sprint("made-up-", i), ed.private}.issue(goodClaims(nil)))
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(time.Second)
			if fetches := issuer.count() - before; fetches > 10 {
				t.Errorf("%d fetches in two seconds", fetches)
			}
		})
	})
	t.Run("Authorino's jwksUrl mode: iss and aud unchecked, Bearer matched by case", func(t *testing.T) {
		expect(t, ReasonWrongIssuer, bearer(ed.issue(goodClaims(map[string]any{"iss": "https://evil.example.com"})))...)
		expect(t, ReasonWrongAudience, bearer(ed.issue(goodClaims(map[string]any{"aud": "https://evil.example.com"})))...)
		for _, scheme := range []string{"bearer", "BEARER", "bEaReR"} {
			expect(t, "", header{"authorization", scheme + " " + good})
		}
	})
	t.Run("one JWT profile taken for another", func(t *testing.T) {
		cache := object(member("session", map[string]any{"user": map[string]any{"id": "user-1"}}), member("exp", in(300)))
		expect(t, ReasonWrongIssuer, bearer(hs256(cache))...)
		expect(t, ReasonWrongIssuer, bearer(hs256(object(member("email", "zoe@example.com"), member("iat", in(0)), member("exp", in(3600)))))...) // e-mail verification
		for _, typ := range []string{"better-auth.session-cache+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "id_token+jwt"} {
			token := jwtOf(object(member("alg", "EdDSA"), member("kid", "ed"), member("typ", typ)), goodClaims(nil), ed.sign)
			expect(t, ReasonUnsupportedType, bearer(token)...)
		}
	})
}
