// Package jwks fetches a JWKS document once, within bounds, whatever the HTTP client or the issuer does, and says why
// that failed. It imports jose, reason, guard, site and show. It does not know when a fetch is due, nor what was
// fetched before.
package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/show"
	"extauthz/extauthz/internal/site"
)

const (
	Timeout      = 3 * time.Second // of one fetch, from its start to the last byte
	maxDocument  = 1 << 20         // bytes of a JWKS document, once it is decompressed
	maxHeader    = 64 << 10        // bytes of its header
	maxRedirects = 3
	// MaxRetryAfter bounds how long an issuer's Retry-After is taken for.
	MaxRetryAfter = time.Minute
)

// The results of a fetch; the values of the metric's label result.
const (
	ResultFetched     = "ok"
	ResultUnreachable = "unreachable" // no answer, or none in time
	ResultStatus      = "status"      // an answer with another status than 200
	ResultInvalid     = "invalid"     // an answer that is no key set
	ResultPanic       = "panic"       // a fetch that panicked
)

// Results are all of them.
func Results() []string {
	return []string{ResultFetched, ResultUnreachable, ResultStatus, ResultInvalid, ResultPanic}
}

// Fetcher gets the JWKS document, over a connection of its own each time: a name is resolved anew, so that a host which
// moved is not asked at its old address as long as that one lives.
type Fetcher struct {
	url    string
	Shown  string // the URL for messages, without its query, where people put keys
	agent  string // the User-Agent
	Client *http.Client
	isOwn  bool // the client is ours, and no embedder's, so that what is said about its proxy and authorities is true
	Proxy  bool // and it knows a proxy
}

// New uses the embedder's client, or without one a client that knows no proxy but the given one, has no cookies,
// and follows redirects within the same origin only.
func New(jwksURL, agent string, client *http.Client, proxy *url.URL) *Fetcher {
	f := &Fetcher{url: jwksURL, agent: agent, Shown: show.URL(jwksURL), isOwn: client == nil, Proxy: proxy != nil}
	if client == nil {
		client = NewClient(proxy)
	}
	own := *client
	own.Transport = withFreshConnections(client.Transport)
	f.Client = &own
	return f
}

// NewClient takes no proxy from the environment: keys that it could change would be the issuer's.
func NewClient(proxy *url.URL) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	transport.MaxResponseHeaderBytes = maxHeader
	return &http.Client{Transport: transport, CheckRedirect: StayWithinOrigin}
}

// StayWithinOrigin refuses a redirect to another origin; it is for [http.Client.CheckRedirect].
func StayWithinOrigin(request *http.Request, via []*http.Request) error {
	from, err1 := site.Origin(via[0].URL)
	to, err2 := site.Origin(request.URL)
	if err := errors.Join(err1, err2); err != nil || from != to {
		return fmt.Errorf("it redirects to another origin, %s://%s", request.URL.Scheme, request.URL.Host)
	}
	if len(via) > maxRedirects {
		return errors.New("it redirects too often")
	}
	return nil
}

// withFreshConnections returns a transport that keeps no connection for a later request.
func withFreshConnections(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	if transport, ok := base.(*http.Transport); ok {
		fresh := transport.Clone() // others may use it, with their connections
		fresh.DisableKeepAlives = true
		return fresh
	}
	return closing{base}
}

// closing asks a transport that is not net/http's own to close each connection behind its request.
type closing struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (c closing) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Close = true
	return c.RoundTripper.RoundTrip(request)
}

// Fetched is what one fetch brought.
type Fetched struct {
	Keys       map[string]*jwk.Key
	Aside      []*jwk.Key
	Result     string        // for the metrics
	Err        error         // why there are no keys; a *fetchError
	RetryAfter time.Duration // how long the issuer wants to be left alone; 0 for no such wish
	Loop       string        // a hint that extauthz itself was asked, or may have been; empty for none
}

// Error is why a fetch failed, and what may help.
type Error struct {
	Cause error
	Hint  string // empty for none
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Cause.Error()
	}
	return e.Cause.Error() + "; " + e.Hint
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Get fetches the document once. It reads no more than maxDocument bytes.
func (f *Fetcher) Get(ctx context.Context) Fetched {
	got := f.try(ctx)
	if got.Err != nil {
		if errors.Is(got.Err, context.DeadlineExceeded) {
			got.Err = fmt.Errorf("no complete answer within %s: %w", Timeout, got.Err)
		}
		got.Err = &Error{got.Err, f.hint(&got)}
	}
	return got
}

func (f *Fetcher) try(ctx context.Context) Fetched {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return Fetched{Result: ResultInvalid, Err: err}
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", f.agent)
	response, err := f.Client.Do(request)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // the log names the URL already
		}
		if strings.Contains(err.Error(), "Location header") { // and shows it, which may hold what our own URL holds
			err = errors.New("it redirects to an invalid URL")
		}
		return Fetched{Result: ResultUnreachable, Err: err}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refused(response)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return Fetched{Result: ResultUnreachable, Err: fmt.Errorf("reading the answer: %w", err)}
	}
	if len(document) > maxDocument {
		return Fetched{Result: ResultInvalid, Err: fmt.Errorf("the answer is longer than %d bytes", maxDocument)}
	}
	keys, aside, err := jwk.ParseKeys(document)
	if err != nil {
		return Fetched{Result: ResultInvalid, Err: withForm(err, response.Header)}
	}
	return Fetched{Keys: keys, Aside: aside, Result: ResultFetched}
}

// withForm adds what the answer says of its own form to why it cannot be read.
func withForm(err error, header http.Header) error {
	for _, name := range []string{"Content-Encoding", "Content-Type"} { // net/http removes an encoding that it undid
		if value := header.Get(name); value != "" {
			return fmt.Errorf("%w (%s: %s)", err, strings.ToLower(name), show.Quoted(value))
		}
	}
	return err
}

// RetryAfter is how long a failing issuer wants to be left alone: Retry-After (RFC 9110 §10.2.3), or
// X-Retry-After, which is what Better Auth's own rate limit sends; the longer of both, up to MaxRetryAfter.
func RetryAfter(header http.Header) (longest time.Duration) {
	for _, name := range []string{"Retry-After", "X-Retry-After"} {
		value := strings.TrimSpace(header.Get(name))
		if seconds, err := strconv.ParseFloat(value, 64); err == nil || errors.Is(err, strconv.ErrRange) {
			if seconds > 0 { // neither a negative one nor NaN
				longest = max(longest, time.Duration(math.Min(seconds, MaxRetryAfter.Seconds())*float64(time.Second)))
			}
		} else if date, err := http.ParseTime(value); err == nil {
			now := time.Now()
			if there, err := http.ParseTime(header.Get("Date")); err == nil {
				now = there // by the clock that the date is of
			}
			longest = max(longest, min(date.Sub(now), MaxRetryAfter))
		}
	}
	return longest
}

// ParseProxy reads the URL of a proxy. Its error completes the sentence "Config.JWKSProxy …" and shows nothing of the
// value, which may hold a password.
func ParseProxy(value string) (*url.URL, error) {
	const example = "write one like http://proxy.example.com:3128 or socks5://proxy.example.com:1080"
	const encoded = example + ", with what is special in a user name or password percent-encoded"
	parsed, err := url.Parse(value)
	if err != nil {
		return nil, errors.New("is not a URL; " + encoded)
	}
	port, portErr := strconv.ParseUint(parsed.Port(), 10, 16)
	switch {
	case parsed.Scheme != "http" && parsed.Scheme != "https" && parsed.Scheme != "socks5" && parsed.Scheme != "socks5h":
		return nil, errors.New("does not begin with http, https, socks5 or socks5h; " + example)
	case parsed.Hostname() == "":
		return nil, errors.New("names no host; " + example)
	case strings.HasSuffix(parsed.Host, ":") || parsed.Port() != "" && (portErr != nil || port == 0):
		return nil, errors.New("has an invalid port; " + example)
	case parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		return nil, errors.New("has more than a host and a port; " + encoded)
	}
	return parsed, nil
}
