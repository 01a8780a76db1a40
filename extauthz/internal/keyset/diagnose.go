package keyset

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/show"
)

// warnCertificate is how near the end of the issuer's certificate may come.
const warnCertificate = 7 * 24 * time.Hour

// recorder is a transport that keeps the last answer's header.
type recorder struct {
	http.RoundTripper
	header http.Header
}

// RoundTrip implements [http.RoundTripper].
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.RoundTripper.RoundTrip(request)
	if err == nil {
		r.header = response.Header
	}
	return response, err
}

// diagnosis is what the diagnosis of the key set found.
type diagnosis struct{ finding.List }

// Diagnose fetches the key set once, as a check would.
func (s *Set) Diagnose(ctx context.Context) []finding.Finding {
	f := &diagnosis{finding.List{Part: "jwks"}}
	get := "GET " + s.Fetcher.Shown
	fault, _ := guard.Trapped(func() { s.diagnoseSteps(ctx, f, get) })
	if fault != nil {
		s.panics.Count(guard.InJWKS)
		f.Fail(get, fmt.Sprintf("a panic: %v", fault),
			"Correct the program that this server is part of: its HTTP client or its clock panics.")
	}
	return f.Found
}

func (s *Set) diagnoseSteps(ctx context.Context, f *diagnosis, get string) {
	// The steps on the way, as they are passed; what is missing at the end is where it failed. Two addresses of a name
	// may be tried at once.
	var mu sync.Mutex
	step := func(tried, found string) {
		mu.Lock()
		defer mu.Unlock()
		f.OK(tried, found)
	}
	trace := &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				var addresses []string
				for _, address := range info.Addrs {
					addresses = append(addresses, address.String())
				}
				step("DNS", strings.Join(addresses, ", "))
			}
		},
		ConnectDone: func(_, address string, err error) {
			if err == nil && s.Fetcher.Proxy {
				step("TCP", "connected to the proxy, "+address)
			} else if err == nil {
				step("TCP", "connected to "+address)
			}
		},
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			if err == nil && len(state.PeerCertificates) > 0 {
				mu.Lock()
				defer mu.Unlock()
				f.certificate(&state, s.now())
			}
		},
	}
	answer := &recorder{RoundTripper: s.Fetcher.Client.Transport}
	client := *s.Fetcher.Client
	client.Transport = answer
	once := *s.Fetcher
	once.Client = &client
	started := time.Now()
	got := once.Get(httptrace.WithClientTrace(ctx, trace))
	took := time.Since(started).Round(time.Millisecond)
	mu.Lock() // a connection that lost may still be on its way
	defer mu.Unlock()
	switch {
	case got.Err != nil:
		f.unfetched(get, &got)
	case took > finding.SlowAnswer:
		f.Warn(get, fmt.Sprintf("200 in %s", took),
			"A token by a key that is new waits for a fetch, for 400 ms at most: bring the issuer nearer.")
	default:
		f.OK(get, fmt.Sprintf("200 in %s", took))
	}
	if answer.header != nil {
		f.Clock("clock", "the issuer's", answer.header.Get("Date"), s.now())
	}
	if got.Err == nil {
		f.keys(&got)
	}
}

// unfetched says why a fetch failed, and what to do: first what the environment may have to do with it.
func (f *diagnosis) unfetched(get string, got *jwks.Fetched) {
	fix := map[string]string{
		jwks.ResultUnreachable: "See that this machine resolves and reaches the host, and trusts its certificate; " +
			"or set Config.JWKSURL to an address that it can reach.",
		jwks.ResultStatus: "See that Config.Issuer is Better Auth's base URL and its jwt plugin is on; " +
			"where the path is another (basePath, jwksPath), set Config.JWKSURL.",
		jwks.ResultInvalid: "What answers there is not Better Auth's JWKS; correct Config.Issuer, or set Config.JWKSURL.",
	}[got.Result]
	if got.RetryAfter > 0 {
		fix = "The issuer limits requests: in Better Auth, set rateLimit.customRules for \"/jwks\", " +
			"or put a cache before it."
	}
	if got.Loop == jwks.LoopHint {
		fix = "" // the issuer was not asked
	}
	cause := got.Err
	if failed, ok := cause.(*jwks.Error); ok {
		cause = failed.Cause
		if failed.Hint != "" {
			fix = strings.TrimSpace(strings.ToUpper(failed.Hint[:1]) + failed.Hint[1:] + ". " + fix)
		}
	}
	f.Fail(get, cause.Error(), fix)
}

func (f *diagnosis) certificate(state *tls.ConnectionState, now time.Time) {
	leaf := state.PeerCertificates[0]
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	found := fmt.Sprintf("%s, certificate until %s", tls.VersionName(state.Version), until)
	if leaf.NotAfter.Sub(now) < warnCertificate {
		f.Warn("TLS", found, "Renew the issuer's certificate; after its end no key can be fetched.")
		return
	}
	f.OK("TLS", found)
}

// keys lists the keys that came, the ignored ones with their faults.
func (f *diagnosis) keys(got *jwks.Fetched) {
	var usable, faults []string
	for id, key := range got.Keys {
		shown := legible(id)
		if key.Fault != "" {
			faults = append(faults, fmt.Sprintf("%s (%s)", shown, key.Fault))
		} else {
			usable = append(usable, fmt.Sprintf("%s (%s)", shown, key.Algorithm))
		}
	}
	for _, entry := range got.Aside {
		if entry.ID == "" {
			faults = append(faults, entry.Fault)
		} else {
			faults = append(faults, fmt.Sprintf("%s (%s)", legible(entry.ID), entry.Fault))
		}
	}
	slices.Sort(usable)
	slices.Sort(faults)
	switch {
	case len(usable) > 0:
		f.OK("usable keys", keyList(usable))
	case len(got.Keys) == 0 && len(got.Aside) == 0:
		f.Warn("usable keys", "the key set is empty",
			"Better Auth makes its first key with its first token: get one at /api/auth/token.")
	default:
		f.Fail("usable keys", "none",
			"Have Better Auth make a new key: its jwt plugin's keyPairConfig says of what kind.")
	}
	if len(faults) > 0 {
		f.Warn("other keys", keyList(faults), "These verify no token. Remove them at the issuer.")
	}
}

// legible is a kid for a terminal, which its control characters must not reach.
func legible(id string) string {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return show.Quoted(id)
		}
	}
	return show.Clip(id)
}

// keyList bounds what a list that the issuer wrote takes of a terminal.
func keyList(texts []string) string {
	const most = 50
	if len(texts) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], ", "), len(texts)-most)
	}
	return strings.Join(texts, ", ")
}
