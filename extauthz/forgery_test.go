package extauthz

import (
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"extauthz/extauthz/internal/credential"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/request"
)

// originals are good credentials of every kind, each with how it is sent.
type original struct {
	name   string
	text   string
	cookie bool
}

func originals() []original {
	s := signers()
	signed := signedSession(liveToken, testSecret)
	list := []original{
		{"HS256", hs256(goodClaims(nil)), false},
		{"session token", liveToken, false},
		{"signed session token", signed, false},
		{"signed session token, percent-encoded", url.QueryEscape(signed), false},
		{"session cookie", url.QueryEscape(signed), true},
	}
	for _, name := range []string{"ed", "rs", "ps", "es256", "es512"} {
		list = append(list, original{s[name].algorithm, s[name].issue(goodClaims(nil)), false})
	}
	return list
}

// forge makes of good credentials one that is not: at most a few characters differ, or the parts are put together another way.
func forge(random *rand.Rand, all []original) (text string, cookie bool) {
	from := all[random.IntN(len(all))]
	text, cookie = from.text, from.cookie
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.%\" \t\x00\x7f\n\r,;é"
	for range 1 + random.IntN(3) {
		at := random.IntN(len(text) + 1)
		switch random.IntN(18) {
		case 0, 1, 2, 3: // another character
			if at < len(text) {
				text = text[:at] + string(alphabet[random.IntN(len(alphabet))]) + text[at+1:]
			}
		case 4: // another bit
			if at < len(text) {
				text = text[:at] + string([]byte{text[at] ^ 1<<random.IntN(8)}) + text[at+1:]
			}
		case 5: // one more
			text = text[:at] + string(alphabet[random.IntN(len(alphabet))]) + text[at:]
		case 6: // one less
			if at < len(text) {
				text = text[:at] + text[at+1:]
			}
		case 7: // cut short
			text = text[:at]
		case 8: // two characters change places
			if at+1 < len(text) {
				text = text[:at] + text[at+1:at+2] + text[at:at+1] + text[at+2:]
			}
		case 9: // parts of another one
			other := all[random.IntN(len(all))]
			mine, theirs := strings.Split(text, "."), strings.Split(other.text, ".")
			i := random.IntN(len(mine))
			mine[i] = theirs[random.IntN(len(theirs))]
			text = strings.Join(mine, ".")
		case 10: // a part less, more, or empty
			mine := strings.Split(text, ".")
			i := random.IntN(len(mine))
			switch random.IntN(3) {
			case 0:
				mine = slices.Delete(mine, i, i+1)
			case 1:
				mine = slices.Insert(mine, i, mine[i])
			default:
				mine[i] = ""
			}
			text = strings.Join(mine, ".")
		case 11: // another case
			if at < len(text) {
				text = text[:at] + strings.ToUpper(text[at:])
			}
		case 12, 13, 14, 15: // a JWT's header or claims in other words, the signature as it was
			text = rewrite(random, text)
		case 16: // a signature of zeros, or of one repeated byte
			if dot := strings.LastIndexByte(text, '.'); dot >= 0 && strings.Count(text, ".") == 2 {
				size := []int{0, 1, 32, 64, 132, 256}[random.IntN(6)]
				text = text[:dot+1] + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(string([]byte{byte(random.IntN(256))}), size)))
			}
		case 17:
			cookie = !cookie
		}
	}
	return text, cookie
}

var rewrites = [][2]string{
	{`"alg":"EdDSA"`, `"alg":"none"`}, {`"alg":"EdDSA"`, `"alg":"HS256"`}, {`"alg":"RS256"`, `"alg":"HS256"`}, {`"alg":"RS256"`, `"alg":"PS256"`},
	{`"alg":"PS256"`, `"alg":"RS256"`}, {`"alg":"ES256"`, `"alg":"ES512"`}, {`"alg":"ES512"`, `"alg":"ES256"`}, {`"alg":"HS256"`, `"alg":"none"`},
	{`"alg":"HS256"`, `"alg":"HS256","kid":"ed"`}, {`"kid":"ed"`, `"kid":"rs"`}, {`"kid":"ed"`, `"kid":"../../dev/null"`}, {`"kid":"rs"`, `"kid":"shared"`},
	{`"kid":"ed"`, `"kid":"ed","crit":["exp"]`}, {`"kid":"ed"`, `"kid":"ed","b64":false`}, {`"kid":"ed"`, `"kid":"ed","jwk":{"kty":"oct","k":""}`}, {`"kid":"rs"`, `"kid":"rs","x5u":"http://127.0.0.1/"`},
	{`"user-1"`, `"user-2"`}, {`"user-1"`, `"admin"`}, {`"exp":`, `"exp":1`}, {`"exp":`, `"was":`}, {`"iss":`, `"iss":"https://evil.example.com","x":`},
	{`"aud":`, `"aud":["*"],"x":`}, {`"name":"`, `"name":"admin`}, {`}`, ` }`}, {`{`, `{"sub":"admin",`}, {`{`, `{ `}, {`"emailVerified":true`, `"emailVerified":false`},
}

func rewrite(random *rand.Rand, text string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return text
	}
	change := rewrites[random.IntN(len(rewrites))]
	for i, part := range parts[:2] {
		if decoded, err := base64.RawURLEncoding.DecodeString(part); err == nil {
			parts[i] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(decoded), change[0], change[1], 1)))
		}
	}
	return strings.Join(parts, ".")
}

// isOriginal tells a mutation that came back to a credential which is good: the same text, or for a session token the same by
// the rules of its spelling (raw or signed, percent-encoded or not, a cookie also in quotes).
func isOriginal(text string, cookie bool, all []original) bool {
	text = strings.TrimLeft(strings.TrimRight(text, " \t"), " ") // as a header's value is
	for _, o := range all {
		if !cookie && !o.cookie && o.text == text {
			return true
		}
	}
	if cookie {
		text = strings.Trim(text, " \t")
		if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
			text = text[1 : len(text)-1]
		}
		text, _, _ = strings.Cut(text, ";") // what follows is another cookie
	}
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	return text == signedSession(liveToken, testSecret) || !cookie && text == liveToken
}

// A hundred thousand credentials of all kinds, each changed a little: none is allowed, none is an internal error, and none makes
// the server fetch more often than it may.
func TestMutatedCredentials(t *testing.T) {
	// Each verification takes long beside other work, and of many senders that are shed some are so again and again.
	senders, count := sized(256, 32), sized[int64](100_000, 20_000)
	issuer := &fakeIssuer{keys: testKeys()}
	a := startAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Secret: []byte(testSecret), DatabaseURL: sessionsDatabase(t)})
	all := originals()
	for _, o := range all { // each is good, and the JWTs are remembered
		if d := judgeUntilDecided(t, a, o.text, o.cookie); d.Denial != nil {
			t.Fatalf("%s: %v", o.name, d.Denial)
		}
	}
	fetches := issuer.count()
	var (
		next, same atomic.Int64
		mu         sync.Mutex
		reasons    = map[Reason]int{}
		work       sync.WaitGroup
	)
	seed := rand.Uint64()
	for sender := range senders {
		work.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(sender)))
			mine := map[Reason]int{}
			for next.Add(1) <= count {
				text, cookie := forge(random, all)
				if isOriginal(text, cookie, all) {
					same.Add(1)
					next.Add(-1)
					continue
				}
				d := judgeUntilDecided(t, a, text, cookie)
				switch {
				case d.Denial == nil:
					t.Errorf("seed %d: allowed: %q, cookie %t", seed, text, cookie)
				case d.Denial.Reason() == ReasonInternalError:
					t.Errorf("seed %d: %v: %q", seed, d.Denial, text)
				default:
					mine[d.Denial.Reason()]++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for reason, n := range mine {
				reasons[reason] += n
			}
		})
	}
	work.Wait()
	total := 0
	for _, n := range reasons {
		total += n
	}
	if int64(total) != count {
		t.Errorf("%d refused, want all %d", total, count)
	}
	// The mutations are worth something when they reach every step.
	for _, reason := range []Reason{ReasonMissingCredential, ReasonMalformedCredential, ReasonUnsignedCookie, ReasonMalformedToken, ReasonUnsupportedAlgorithm,
		ReasonMissingKeyID, ReasonUnknownKey, ReasonKeyAlgorithmMismatch, ReasonBadSignature, ReasonUnknownSession} {
		if reasons[reason] == 0 {
			t.Errorf("none was refused as %s", reason)
		}
	}
	t.Logf("0 of %d allowed; %d mutations were none; fetches %d; %v", count, same.Load(), issuer.count()-fetches, reasons)
}

// judgeOne has one credential decided.
func judgeOne(t *testing.T, a *Authorizer, text string, cookie bool) decision.Decision {
	r := request.Request{Method: "GET", Authorization: []string{"Bearer " + text}}
	if cookie {
		r = request.Request{Method: "GET", Cookies: []string{credential.DefaultCookie + "=" + text}}
	}
	return a.decide(t.Context(), &r)
}
