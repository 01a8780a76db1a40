package site_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"extauthz/extauthz/internal/request"
	"extauthz/extauthz/internal/site"
)

func list(texts ...string) []string { return texts }

// What another site's page made a browser send is refused, where it could do something.
func TestCheck(t *testing.T) {
	trusted, err := site.ReadPatterns(list("https://app.other.example", "myapp://"))
	if err != nil {
		t.Fatal(err)
	}
	for title, row := range map[string]struct {
		request   request.Request
		isAllowed bool
	}{
		"a safe method":                      {request.Request{Method: "GET", SecFetchSite: list("cross-site")}, true},
		"a WebSocket":                        {request.Request{Method: "GET", SecFetchSite: list("cross-site"), WebSocket: true}, false},
		"a method in lower case":             {request.Request{Method: "get", SecFetchSite: list("cross-site")}, false},
		"the same origin":                    {request.Request{Method: "POST", SecFetchSite: list("same-origin")}, true},
		"another site":                       {request.Request{Method: "POST", SecFetchSite: list("cross-site")}, false},
		"another site twice":                 {request.Request{Method: "POST", SecFetchSite: list("same-origin", "cross-site")}, false},
		"an unknown site":                    {request.Request{Method: "POST", SecFetchSite: list("")}, false},
		"another site, trusted":              {request.Request{Method: "POST", SecFetchSite: list("cross-site"), Origin: list("https://app.other.example")}, true},
		"unknown, trusted":                   {request.Request{Method: "POST", SecFetchSite: list("odd"), Origin: list("https://app.other.example")}, false},
		"another site, trusted and not":      {request.Request{Method: "POST", SecFetchSite: list("cross-site"), Origin: list("https://app.other.example", "https://evil.example")}, false},
		"no browser":                         {request.Request{Method: "POST", Host: "api.example.com"}, true},
		"an older browser, the same site":    {request.Request{Method: "POST", Host: "api.example.com", Scheme: "https", Origin: list("https://app.example.com")}, true},
		"an older browser, over plain http":  {request.Request{Method: "POST", Host: "api.example.com", Scheme: "https", Origin: list("http://app.example.com")}, false},
		"an older browser, another site":     {request.Request{Method: "POST", Host: "api.example.com", Scheme: "https", Origin: list("https://evil.example")}, false},
		"an older browser, a public suffix":  {request.Request{Method: "POST", Host: "a.github.io", Scheme: "https", Origin: list("https://b.github.io")}, false},
		"an older browser, two origins":      {request.Request{Method: "POST", Host: "api.example.com", Origin: list("https://app.example.com", "https://app.example.com")}, false},
		"an older browser, no origin at all": {request.Request{Method: "POST", Host: "api.example.com", Origin: list("null")}, false},
		"an older browser, no host":          {request.Request{Method: "POST", Origin: list("https://")}, false},
	} {
		if err := site.Check(&row.request, trusted); (err == nil) != row.isAllowed {
			t.Errorf("%s: %v", title, err)
		}
	}
}

// FuzzParseOrigin: an origin that is read is a URL of that scheme and host to net/url, and has no more than these.
func FuzzParseOrigin(f *testing.F) {
	for _, text := range list("https://app.example.com", "http://localhost:3000", "capacitor://localhost", "HTTPS://A.b", "null", "file://",
		"https://user@a.b", "https://a.b/", "https://[::1]:8080", "https://a.b:99999", "https://1.2.3", "https://xn--a.b", "https://a\tb") {
		f.Add(text, "https://*.example.com")
	}
	f.Add("https://a.evil.example", "https://*.example")
	f.Add("https://10.0.0.7", "https://10.0.*.*:3000")
	f.Fuzz(func(t *testing.T, text, pattern string) {
		o, ok := site.ParseOrigin(text)
		if !ok {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != strings.ToLower(u.Scheme) || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q was read, which is %+v, %v", text, u, err)
		}
		read, err := site.ReadPattern(pattern)
		if err != nil || !strings.HasPrefix(pattern, "https://") || !read.Matches(o, true) {
			return
		}
		// A pattern that matches, matches by a regular expression too.
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		origin := strings.ToLower(text)
		if !regexp.MustCompile("^"+expression+"$").MatchString(origin) && !regexp.MustCompile("^"+expression+":443$").MatchString(origin) &&
			!regexp.MustCompile("^"+expression+"$").MatchString(strings.TrimSuffix(origin, ":443")) {
			t.Fatalf("%q matches %q", pattern, text)
		}
	})
}

// FuzzReadPattern: no pattern that is accepted trusts sites of several owners under a registry's suffix.
func FuzzReadPattern(f *testing.F) {
	for _, text := range list("https://app.example.com", "https://*.example.com", "*.example.com", "*://app.example.com", "myapp://*", "*", "https://*.com",
		"https://*.github.io", "192.168.*.*", "https://app-?.example.com", "*.co.uk", "https://*example.com", "???.*", "a*") {
		f.Add(text)
	}
	suffixes := list("com", "co.uk", "org") // a registry's; *.vercel.app is accepted, and docs/better-auth.md says what it means
	f.Fuzz(func(t *testing.T, text string) {
		pattern, err := site.ReadPattern(text)
		if err != nil {
			return
		}
		for _, suffix := range suffixes {
			trusted := 0
			for _, name := range list("evil", "another-1", "app") {
				if o, ok := site.ParseOrigin("https://" + name + "." + suffix); ok && pattern.Matches(o, true) {
					trusted++
				}
			}
			if trusted > 1 {
				t.Fatalf("%q trusts sites of anybody's under %s", text, suffix)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	trusted, err := site.ReadPatterns(list("https://*.other.example", "https://app.another.example"))
	if err != nil {
		b.Fatal(err)
	}
	r := request.Request{Method: "POST", Scheme: "https", Host: "api.example.com", SecFetchSite: list("cross-site"),
		Origin: list("https://app.another.example")}
	b.ReportAllocs()
	for b.Loop() {
		if err := site.Check(&r, trusted); err != nil {
			b.Fatal(err)
		}
	}
}
