package jwks_test

import (
	"net/http"
	"strings"
	"testing"

	"extauthz/extauthz/internal/keyset/jwks"
)

// FuzzRetryAfter: whatever an issuer writes, it is left alone for no longer than the bound, and for no negative time.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "1", "-1", "1e99", "NaN", "Inf", "0.5", "Wed, 25 Nov 2026 12:00:00 GMT", "Wed, 25 Nov 9999 12:00:00 GMT", "x"} {
		f.Add(value, "2", "Wed, 25 Nov 2026 11:00:00 GMT")
		f.Add(value, "", "")
	}
	f.Fuzz(func(t *testing.T, value, extended, date string) {
		header := http.Header{"Retry-After": {value}, "X-Retry-After": {extended}, "Date": {date}}
		if wait := jwks.RetryAfter(header); wait < 0 || wait > jwks.MaxRetryAfter {
			t.Errorf("%v", wait)
		}
	})
}

// FuzzParseProxy: a proxy has a host and one of four schemes, and a fault shows no part of a password.
func FuzzParseProxy(f *testing.F) {
	f.Add("http://u:", "@proxy.example.com:3128")
	f.Add("socks5://u:", "@proxy.example.com")
	f.Add("", "@proxy.example.com:3128")
	f.Add("http://proxy.example.com:", "/%zz")
	f.Add("ftp://", "#?")
	f.Fuzz(func(t *testing.T, before, after string) {
		const password = "correct-horse-battery"
		proxy, err := jwks.ParseProxy(before + password + after)
		if err != nil {
			if strings.Contains(err.Error(), password) {
				t.Error(err)
			}
			return
		}
		switch proxy.Scheme {
		case "http", "https", "socks5", "socks5h":
		default:
			t.Errorf("%+v", proxy)
		}
		if proxy.Hostname() == "" || strings.Trim(proxy.Path, "/") != "" || proxy.RawQuery != "" || proxy.Fragment != "" {
			t.Errorf("%+v", proxy)
		}
	})
}
