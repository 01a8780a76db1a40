package extauthz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/site"
)

// trustedPatterns are what people list.
var trustedPatterns = []string{
	"https://app.example.com", "http://app.example.com", "https://app.example.com:8443", "http://localhost:3000", "https://xn--bcher-kva.example", "http://[::1]:3000",
	"https://*.example.com", "http://*.example.com", "https://*.example.com:8443", "https://preview-*.vercel.app", "https://*-team.vercel.app", "https://*.vercel.app",
	"https://app-?.example.com", "https://*.dev.example.com", "http://localhost:*", "https://app.example.com:*", "http://192.168.*.*:3000", "http://10.*", "http://127.0.0.?",
	"*.example.com", "*.example.com:3000", "localhost:*", "192.168.*.*", "preview-?.example.com", "*://app.example.com", "http*://app.example.com", "*://*.example.com",
	"capacitor://localhost", "tauri://localhost", "ionic://localhost", "myapp://", "exp://*", "exp://192.168.*.*:*/**", "exp://**", "myapp://*.example.com", "myapp://Host.Example.com/", "file://",
	"chrome-extension://abcdefghijklmnop", "moz-extension://*", "com.example.app://auth",
}

// tricks are origins that resemble a trusted one, and what browsers and others send besides.
var tricks = []string{
	"null", "", "/", "https://", "http://", "https:", "app.example.com", "//app.example.com", "https:app.example.com", "https:/app.example.com", "https:\\\\app.example.com",
	"https://app.example.com", "http://app.example.com", "https://app.example.com:443", "http://app.example.com:80", "https://app.example.com:80", "https://app.example.com:8443", "https://app.example.com:0443",
	"https://app.example.com:", "https://app.example.com:99999", "https://app.example.com:x", "https://APP.example.com", "HTTPS://app.example.com", "https://app.example.com.", "https://app.example.com/",
	"https://app.example.com/path", "https://app.example.com?x", "https://app.example.com#x", "https://app.example.com.evil.com", "https://evil-example.com", "https://evilexample.com",
	"https://app.example.com@evil.com", "https://evil.com@app.example.com", "https://app.example.com:pw@evil.com", "https://evil.com/?https://app.example.com", "https://evil.com#https://app.example.com",
	"https://evil.com/https://app.example.com", "https://evil.com\\.example.com", "https://evil.com\\@app.example.com", "https://evil.com%2f.example.com", "https://evil.com%00.example.com", "https://evil.com .example.com",
	"https://evil.com\t.example.com", "https://evil.com\n.example.com", "https://evil.com,https://app.example.com", "https://app.example.com https://evil.com", "https://app.example.com, https://evil.com",
	"https://.example.com", "https://example.com", "https://..example.com", "https://a.example.com", "https://a.b.example.com", "https://*.example.com", "https://?.example.com", "http://a.example.com", "https://a.example.com:8443",
	"https://a.example.com:3000", "https://evil.com:443.example.com", "https://evil.com:.example.com", "https://a_b.example.com", "https://-a.example.com", "https://xn--a.example.com", "https://xn--bcher-kva.example", "https://b\u00fccher.example",
	"https://a.example\u3002com", "https://a\u00ad.example.com", "https://a.example.com\u0000", "\u0000https://a.example.com", "https://a.EXAMPLE.com", "https://a.example.com\r\nx: y", "ws://a.example.com", "wss://app.example.com", "ftp://a.example.com",
	"https://preview-7.vercel.app", "https://x-team.vercel.app", "https://evil.vercel.app", "https://vercel.app", "https://preview-7.vercel.app.evil.com", "https://app-1.example.com", "https://app-12.example.com", "https://app-.example.com",
	"http://localhost", "http://localhost:3000", "http://localhost:80", "http://localhost:65535", "http://localhost.evil.com:3000", "http://localhost:3000.evil.com", "https://localhost:3000", "http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]",
	"http://[::ffff:127.0.0.1]:3000", "http://[::1]evil:3000", "http://[evil]:3000", "http://::1:3000",
	"http://192.168.1.10:3000", "http://192.168.1.10", "http://192.168.evil.com:3000", "http://192.168.1.evil.com", "http://10.evil.com", "http://10.0.0.1", "http://10.0.0.256", "http://10.1", "http://0x0a.0.0.1", "http://167772161", "http://127.0.0.1", "http://127.0.0.x",
	"http://127.0.0.1.", "http://010.0.0.1", "https://192.168.1.10", "https://evil.1",
	"capacitor://localhost", "capacitor://LOCALHOST", "capacitor://localhost:1", "capacitor://localhost.evil.com", "capacitor://evil", "capacitor:localhost", "Capacitor://localhost", "ionic://localhost", "tauri://localhost", "http://tauri.localhost",
	"myapp://", "myapp://x", "myapp://x/y", "myapp://x?y", "myapp:x", "myapp:", "myapp://x@y", "myapp2://x", "xmyapp://x", "exp://192.168.1.5:8081", "exp://192.168.1.5", "exp://192.168.evil.com:8081", "exp://host", "exp://", "myapp://a.example.com", "myapp://A.example.com",
	"myapp://host.example.com", "file://", "file:///", "file://localhost", "file://app.example.com", "chrome-extension://abcdefghijklmnop", "chrome-extension://other", "moz-extension://0a1b", "com.example.app://auth", "com.example.app://evil",
	" https://app.example.com", "https://app.example.com ", " myapp://x", " file://", "file://app.example.com:8443",
	"data:text/html,x", "javascript://app.example.com", "blob:https://app.example.com", "about:blank", "https://app.example.com;https://evil.com", "https://app.example.com\\evil.com", "https://[app.example.com]", "https://app.example.com:-1", "https://app.example.com:+443",
}

// mutate makes an origin or a pattern of known ones.
func mutate(random *rand.Rand, known []string) string {
	text := known[random.IntN(len(known))]
	parts := []string{"https://", "http://", "myapp://", "app.", "evil.com", ".example.com", "example.com", ":3000", ":443", "*", "?", "*.", "192.168.", ".1", "@", "/", "\\", ".", "-", "xn--", "A", "%2e", "[::1]", "#", " "}
	for range 1 + random.IntN(3) {
		at := random.IntN(len(text) + 1)
		switch random.IntN(4) {
		case 0:
			text = text[:at] + parts[random.IntN(len(parts))] + text[at:]
		case 1:
			text = text[:at] + text[min(len(text), at+1+random.IntN(4)):]
		case 2:
			other := known[random.IntN(len(known))]
			text = text[:at] + other[random.IntN(len(other)+1):]
		case 3:
			if at < len(text) {
				text = text[:at] + string(parts[random.IntN(len(parts))][0]) + text[at+1:]
			}
		}
	}
	return text
}

// Whatever matches here matches in Better Auth, over what people list, what attackers send, and mutations of both.
// What matches there and not here is no origin as a browser writes it, or a page without TLS that no pattern names.
func TestTrustedOriginsAreNeverWiderThanBetterAuths(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	texts := slices.Clone(trustedPatterns)
	for len(texts) < 700 {
		texts = append(texts, mutate(random, trustedPatterns))
	}
	origins := slices.Concat(tricks, []string{"https://API.example.com"})
	for len(origins) < 1500 {
		origins = append(origins, mutate(random, slices.Concat(tricks, trustedPatterns)))
	}
	for i, origin := range origins { // what cannot be a header's text is not compared by way of JSON
		origins[i] = strings.ToValidUTF8(origin, "")
	}
	var usable []string
	var patterns []site.Pattern
	for _, text := range texts {
		if pattern, err := site.ReadPattern(text); err == nil {
			usable, patterns = append(usable, text), append(patterns, pattern)
		} else if slices.Contains(trustedPatterns, text) {
			t.Errorf("%q is refused: %v", text, err)
		}
	}
	var theirs []string
	runBetterAuth(t, "origins.mjs", map[string]any{"patterns": usable, "origins": origins}, &theirs)
	both, narrower := 0, map[string]bool{}
	for i, pattern := range patterns {
		for j, text := range origins {
			o, ok := site.ParseOrigin(text)
			mine := ok && pattern.Matches(o, false)
			switch their := theirs[i][j] == '1'; {
			case mine && their:
				both++
			case mine:
				t.Errorf("seed %d: the pattern %q trusts %q here, and not in Better Auth", seed, usable[i], text)
			case their && ok:
				t.Errorf("seed %d: the pattern %q trusts %q in Better Auth, and not here, though it is a browser's origin", seed, usable[i], text)
			case their:
				narrower[text] = true
			}
		}
	}
	t.Logf("%d patterns and %d origins: both trust %d pairs; Better Auth alone trusts %d texts that are no origin", len(patterns), len(origins), both, len(narrower))
	if both < 150 {
		t.Error("hardly anything matched")
	}
}

// What would trust everybody, or could never match, stops the start, and the message names the setting's value and
// what to write.
func TestOriginPatternFaults(t *testing.T) {
	for _, text := range []string{
		"", " ", "*", "**", "?", "*.*", "*:*", "*.*.*", "https://*", "http://*", "https://**", "*://*", "https://*:*", "https://*:3000", "https://?", "http*", "*//*",
		"*.com", "https://*.com", "https://*.co.uk", "https://*example.com", "*example.com", "https://example.*", "https://app.*.com", "https://*.example.com*", "https://app.example.com*", "http://localhost*",
		"https://app.example.com.*", "https://[*]:3000", "https://*.*.com", "https://app.example.c?m", "https://app.example.com?",
		"null", "localhost", "localhost:3000", "app.example.com", "//app.example.com", "https:app.example.com", "app.example.com/*",
		"https://app.example.com/", "https://*.example.com/", "https://app.example.com/path", "https://app.example.com/*", "https://APP.example.com", "HTTPS://app.example.com", "https://app.example.com:443", "http://app.example.com:80",
		"https://user@app.example.com", "https://app.example.com#x", "https://b\u00fccher.example", "https://app.example.com https://b.example.com", "https://app\t.example.com", "https://app.example.com\n", "https://app%2eexample.com",
		"https://app.example.com,https://b.example.com", `https://app\.example.com`, "1app://x", "://x", "my app://", "myapp://x/callback", "myapp://x/a*", "https://", "Myapp://x",
	} {
		if pattern, err := site.ReadPattern(text); err == nil {
			t.Errorf("%q is taken for %+v", text, pattern)
		} else if strings.ContainsAny(err.Error(), "\n\t") || len(err.Error()) > 300 {
			t.Errorf("%q: %v", text, err)
		}
		_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, TrustedOrigins: []string{"https://app.example.com", text}})
		if fault, ok := errors.AsType[*ConfigError](err); !ok || fault.Field != "TrustedOrigins" {
			t.Errorf("%q: New says %v", text, err)
		}
	}
}

// A cookie counts for an unsafe method or a WebSocket when it comes from a trusted origin, which is named once and to
// the letter; nothing else changes.
func TestTrustedOriginsDecide(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t),
		TrustedOrigins: []string{"https://app.example.net", "https://*.example.org", "http://localhost:3000", "capacitor://localhost", "*.example.dev"}})
	session := cookie(url.QueryEscape(signedSession(liveToken, testSecret)))
	from := func(origins ...string) (headers []header) {
		for _, o := range origins {
			headers = append(headers, header{"origin", o})
		}
		return headers
	}
	crossSite := header{"sec-fetch-site", "cross-site"}
	for _, row := range []struct {
		title   string
		allowed bool
		headers []header
	}{
		{"trusted", true, append(from("https://app.example.net"), crossSite)},
		{"trusted, no Sec-Fetch-Site", true, from("https://app.example.net")},
		{"trusted by a wildcard", true, append(from("https://a.b.example.org"), crossSite)},
		{"trusted, without TLS, by name", true, append(from("http://localhost:3000"), crossSite)},
		{"an application", true, append(from("capacitor://localhost"), crossSite)},
		{"trusted without a scheme", true, append(from("https://x.example.dev"), crossSite)},
		{"trusted without a scheme, and without TLS", false, append(from("http://x.example.dev"), crossSite)},
		{"our own site, as before", true, append(from("https://app.example.com"), header{"sec-fetch-site", "same-site"})},
		{"the domain alone", false, append(from("https://example.org"), crossSite)},
		{"without TLS", false, append(from("http://app.example.net"), crossSite)},
		{"another port", false, append(from("https://app.example.net:8443"), crossSite)},
		{"cross-site and no Origin", false, []header{crossSite}},
		{"null", false, append(from("null"), crossSite)},
		{"null, no Sec-Fetch-Site", false, from("null")},
		{"empty", false, append(from(""), crossSite)},
		{"two, both trusted", false, append(from("https://app.example.net", "https://app.example.net"), crossSite)},
		{"two, one trusted", false, append(from("https://app.example.net", "https://evil.example"), crossSite)},
		{"Sec-Fetch-Site twice", false, append(from("https://app.example.net"), crossSite, crossSite)},
		{"Sec-Fetch-Site unknown", false, append(from("https://app.example.net"), header{"sec-fetch-site", "sideways"})},
		{"behind", false, append(from("https://app.example.net.evil.example"), crossSite)},
		{"before", false, append(from("https://evilapp.example.net"), crossSite)},
		{"as user", false, append(from("https://app.example.net@evil.example"), crossSite)},
		{"as query", false, append(from("https://evil.example/?https://app.example.net"), crossSite)},
		{"trailing dot", false, append(from("https://app.example.net."), crossSite)},
		{"with a path", false, append(from("https://app.example.net/"), crossSite)},
		{"Referer is no Origin", false, []header{{"referer", "https://app.example.net/"}, crossSite}},
	} {
		for wireName, request := range wire {
			for _, kind := range []string{"POST", "DELETE", "a WebSocket"} {
				t.Run(fmt.Sprint(row.title, "/", kind, "/", wireName), func(t *testing.T) {
					method, headers := kind, slices.Concat(session, row.headers)
					if kind == "a WebSocket" {
						method, headers = "GET", append(headers, header{"upgrade", "websocket"})
					}
					response, err := a.Check(t.Context(), request(method, headers))
					if err != nil {
						t.Fatal(err)
					}
					if row.allowed {
						expectAllowed(t, response, Identity{Subject: "user-2", Method: identity.MethodSession})
					} else {
						expectDenial(t, response, ReasonCrossSite)
					}
				})
			}
		}
	}
	// A trusted origin makes nothing of a bad session.
	response, err := a.Check(t.Context(), wire["headers"]("POST", append(cookie(url.QueryEscape(signedSession(unknownToken, testSecret))), append(from("https://app.example.net"), crossSite)...)))
	if err != nil {
		t.Fatal(err)
	}
	expectDenial(t, response, ReasonUnknownSession)
}
