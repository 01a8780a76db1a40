package extauthz

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/jose/jwk"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/show"
)

// rawJWK is a good Ed25519 JWK with the kid odd, in which members are replaced by JSON texts, or added; an empty text
// removes one.
func rawJWK(t *testing.T, changes map[string]string) string {
	t.Helper()
	members := map[string]string{}
	for name, value := range signers()["ed"].jwk(map[string]any{"kid": "odd"}) {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		members[name] = string(text)
	}
	maps.Copy(members, changes)
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] != "" {
			texts = append(texts, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// withDocument runs an Authorizer in made-up time whose issuer publishes the JWKs, with what it logs.
func withDocument(t *testing.T, entries []string, test func(t *testing.T, a *Authorizer, issuer *fakeIssuer, log *lockedBuffer)) {
	t.Helper()
	document := []byte(`{"keys":[` + strings.Join(entries, ",") + `]}`)
	issuer := &fakeIssuer{answer: func(*http.Request) (*http.Response, error) { return httpAnswer(http.StatusOK, document), nil }}
	bubble.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget,
			Logger: slog.New(slog.NewTextHandler(log, nil))})
		synctest.Wait()
		test(t, a, issuer, log)
	})
}

// A JWK with a fault and a kid is listed with it, told once, and refuses its tokens without asking the issuer again;
// null counts as absent.
func TestFaultyKeysAreListed(t *testing.T) {
	ed := signers()["ed"]
	for title, row := range map[string]struct {
		changes map[string]string
		fault   string // empty for a good key
	}{
		"use a number":              {map[string]string{"use": `5`}, `its member "use" is not a string`},
		"use an array":              {map[string]string{"use": `["sig"]`}, `its member "use" is not a string`},
		"use null":                  {map[string]string{"use": `null`}, ""},
		"key_ops a text":            {map[string]string{"key_ops": `"verify"`}, `its member "key_ops" is not an array of strings`},
		"key_ops with a number":     {map[string]string{"key_ops": `["verify",5]`}, `its member "key_ops" is not an array of strings`},
		"key_ops with null":         {map[string]string{"key_ops": `["verify",null]`}, `its member "key_ops" is not an array of strings`},
		"key_ops an object":         {map[string]string{"key_ops": `{"verify":true}`}, `its member "key_ops" is not an array of strings`},
		"key_ops null":              {map[string]string{"key_ops": `null`}, ""},
		"key_ops empty":             {map[string]string{"key_ops": `[]`}, `its key_ops do not hold "verify"`},
		"alg a number":              {map[string]string{"alg": `1`}, `its member "alg" is not a string`},
		"alg a list":                {map[string]string{"alg": `["EdDSA"]`}, `its member "alg" is not a string`},
		"alg null":                  {map[string]string{"alg": `null`}, ""},
		"alg true":                  {map[string]string{"alg": `true`}, `its member "alg" is not a string`},
		"kty a number":              {map[string]string{"kty": `7`}, `its member "kty" is not a string`},
		"kty missing":               {map[string]string{"kty": ``}, "not a well-formed JWK"},
		"kty null":                  {map[string]string{"kty": `null`}, "not a well-formed JWK"},
		"crv an object":             {map[string]string{"crv": `{}`}, `its member "crv" is not a string`},
		"x a number":                {map[string]string{"x": `12345`}, `its member "x" is not a string`},
		"x null":                    {map[string]string{"x": `null`}, "not a well-formed"},
		"x an array of bytes":       {map[string]string{"x": `[1,2,3]`}, `its member "x" is not a string`},
		"x5c a text":                {map[string]string{"x5c": `"MIIB"`}, `its member "x5c" is not an array of strings`},
		"x5c null":                  {map[string]string{"x5c": `null`}, ""},
		"x5t a number":              {map[string]string{"x5t": `5`}, `its member "x5t" is not a string`},
		"d an empty text":           {map[string]string{"d": `""`}, "private: "},
		"d null":                    {map[string]string{"d": `null`}, ""},
		"d a number, and use too":   {map[string]string{"d": `5`, "use": `5`}, "private: "},
		"p alone":                   {map[string]string{"p": `"AQ"`}, "private: "},
		"oth":                       {map[string]string{"oth": `[]`}, "private: "},
		"k beside x":                {map[string]string{"k": `"AAAA"`}, "symmetric: "},
		"what nobody knows":         {map[string]string{"expiresAt": `5`, "ext": `true`, "issuer": `{"a":[1]}`}, ""},
		"a name twice":              {map[string]string{"use": `"sig","use":"enc"`}, `its member "use" stands twice`},
		"an unknown name twice":     {map[string]string{"note": `1,"note":2`}, `its member "note" stands twice`},
		"x twice":                   {map[string]string{"x": `"AAAA","x":"BBBB"`}, `its member "x" stands twice`},
		"bytes that are not UTF-8":  {map[string]string{"note": "\"\xff\""}, "it holds bytes that are not UTF-8"},
		"a lone surrogate":          {map[string]string{"use": `"\ud800"`}, "its use is "},
		"kid twice":                 {map[string]string{"kid": `"odd","kid":"other"`}, `its member "kid" stands twice`},
		"kid twice, first a number": {map[string]string{"kid": `5,"kid":"odd"`}, `its member "kid" stands twice`},
	} {
		t.Run(title, func(t *testing.T) {
			withDocument(t, []string{rawJWK(t, row.changes), rawJWK(t, map[string]string{"kid": `"good"`})}, func(t *testing.T, a *Authorizer, issuer *fakeIssuer, log *lockedBuffer) {
				want := ReasonUnusableKey
				if row.fault == "" {
					want = ""
				}
				for range 3 {
					expectReason(t, decideToken(t, a, ed, "odd"), want)
					expectReason(t, decideToken(t, a, ed, "good"), "")
				}
				if title == "kid twice" {
					expectReason(t, decideToken(t, a, ed, "other"), ReasonUnusableKey)
				}
				if got := issuer.count(); got != 1 {
					t.Errorf("%d fetches, want the first only", got)
				}
				keys, _ := a.only().keys.List()
				at := slices.IndexFunc(keys, func(k keyset.Entry) bool { return k.ID == "odd" })
				if at < 0 || !strings.Contains(keys[at].Fault, row.fault) || (keys[at].Fault == "") != (row.fault == "") {
					t.Errorf("listed %+v, want the fault %q", keys, row.fault)
				}
				time.Sleep(5 * time.Minute)
				if told := strings.Count(log.String(), "kid=odd"); told != min(len(row.fault), 1) {
					t.Errorf("told %d times:\n%s", told, log.String())
				}
				if text := findingsText(a.Operator().Diagnose(t.Context()), "jwks"); row.fault != "" && !strings.Contains(text, "odd (") {
					t.Errorf("doctor says\n%s", text)
				}
			})
		})
	}
}

// What has no kid that a token could name is told, by its place in the list, and spoils no other key.
func TestEntriesWithoutKeyID(t *testing.T) {
	for title, row := range map[string]struct{ entry, fault string }{
		"null":            {`null`, "it is not a JSON object (entry 1 of the list)"},
		"a text":          {`"a key"`, "it is not a JSON object (entry 1 of the list)"},
		"a number":        {`5`, "it is not a JSON object"},
		"an array":        {`[{"kid":"x"}]`, "it is not a JSON object"},
		"an empty object": {`{}`, "it has no kid, so no token can name it (entry 1 of the list)"},
		"no kid":          {rawJWK(t, map[string]string{"kid": ``}), "it has no kid"},
		"kid null":        {rawJWK(t, map[string]string{"kid": `null`}), "it has no kid"},
		"kid empty":       {rawJWK(t, map[string]string{"kid": `""`}), "its kid is empty"},
		"kid a number":    {rawJWK(t, map[string]string{"kid": `12`}), `its member "kid" is not a string`},
		"kid an object":   {rawJWK(t, map[string]string{"kid": `{}`}), `its member "kid" is not a string`},
	} {
		t.Run(title, func(t *testing.T) {
			withDocument(t, []string{row.entry, rawJWK(t, map[string]string{"kid": `"good"`})}, func(t *testing.T, a *Authorizer, _ *fakeIssuer, log *lockedBuffer) {
				expectReason(t, decideToken(t, a, signers()["ed"], "good"), "")
				if keys, _ := a.only().keys.List(); len(keys) != 2 || keys[0].ID != "" || !strings.Contains(keys[0].Fault, row.fault) {
					t.Errorf("listed %+v, want the fault %q", keys, row.fault)
				}
				time.Sleep(5 * time.Minute)
				if told := strings.Count(log.String(), "entry 1 of the list"); told != 1 {
					t.Errorf("told %d times:\n%s", told, log.String())
				}
				if text := findingsText(a.Operator().Diagnose(t.Context()), "jwks"); !strings.Contains(text, "entry 1 of the list") {
					t.Errorf("doctor says\n%s", text)
				}
			})
		})
	}
}

// Of two keys with one kid the first good one counts, and the other is told; the same key listed twice is nothing to
// tell.
func TestTwoKeysOfOneID(t *testing.T) {
	stranger := signers()["stranger"]
	text, err := json.Marshal(stranger.jwk(map[string]any{"kid": "odd"}))
	if err != nil {
		t.Fatal(err)
	}
	withDocument(t, []string{rawJWK(t, nil), string(text), rawJWK(t, nil)}, func(t *testing.T, a *Authorizer, _ *fakeIssuer, log *lockedBuffer) {
		expectReason(t, decideToken(t, a, signers()["ed"], "odd"), "")
		expectReason(t, decideToken(t, a, stranger, "odd"), ReasonBadSignature)
		if keys, _ := a.only().keys.List(); len(keys) != 2 || keys[0].Fault != "" || !strings.Contains(keys[1].Fault, "same kid") {
			t.Errorf("%+v, want two entries", keys)
		}
		if told := strings.Count(log.String(), "has the same kid"); told != 1 {
			t.Errorf("told %d times:\n%s", told, log.String())
		}
	})
}

// A key that is replaced under its kid is told, and takes the remembered tokens of the earlier one with it; a set that
// becomes empty is told.
func TestReplacedKeyIsTold(t *testing.T) {
	s := signers()
	issuer := &fakeIssuer{}
	issuer.set(s["ed"].jwk(nil))
	bubble.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget,
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		token := s["ed"].issue(goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
		expectReason(t, checkToken(t, a, token), "")
		change := func(want string, keys ...map[string]any) {
			t.Helper()
			before := len(log.String())
			issuer.set(keys...)
			time.Sleep(2 * keyset.RefreshInterval)
			synctest.Wait()
			if told := log.String()[before:]; strings.Count(told, want) != 1 {
				t.Errorf("want %q once in\n%s", want, told)
			}
		}
		change(`kid=ed from=EdDSA to=EdDSA`, s["stranger"].jwk(map[string]any{"kid": "ed"}))
		expectReason(t, checkToken(t, a, token), ReasonBadSignature)
		change(`kid=ed from=EdDSA to=RS256`, s["rs"].jwk(map[string]any{"kid": "ed"}))
		change(`to="(ignored: its use is`, s["rs"].jwk(map[string]any{"kid": "ed", "use": "enc"}))
		change("JWKS lists no key any more")
	})
}

// An issuer whose keys change with each fetch does not fill the log, and what is left out is told.
func TestChangingKeysDoNotFillTheLog(t *testing.T) {
	issuer := &fakeIssuer{}
	round := 0
	issuer.setAnswer(func(*http.Request) (*http.Response, error) {
		round++
		var entries []string
		for i := range 500 {
			entries = append(entries, fmt.Sprintf(`{"kid":"k%d-%d","kty":"oct"}`, round, i))
		}
		return httpAnswer(http.StatusOK, []byte(`{"keys":[`+strings.Join(entries, ",")+`]}`)), nil
	})
	bubble.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: issuer}, Now: time.Now, budget: decide.TimeBudget,
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		for range 10 * 60 {
			time.Sleep(time.Second)
			a.Refresh()
		}
		synctest.Wait()
		if lines := strings.Count(log.String(), "\n"); lines < keyset.MaxKeyLines || lines > 11*keyset.MaxKeyLines || !strings.Contains(log.String(), "lines_left_out=") {
			t.Errorf("%d lines in ten minutes, want at most %d a minute", lines, keyset.MaxKeyLines)
		}
	})
}

// The number of entries is bounded, and so is what each of them may take: such a document changes nothing.
func TestTooManyKeys(t *testing.T) {
	if _, _, err := jwk.ParseKeys([]byte(`{"keys":[` + strings.Repeat(`{},`, jwk.MaxKeys) + `{}]}`)); err == nil || !strings.Contains(err.Error(), "lists more than 4096 keys") {
		t.Errorf("%v, want a bound", err)
	}
	if keys, aside, err := jwk.ParseKeys([]byte(`{"keys":[` + strings.Repeat(`{},`, jwk.MaxKeys-1) + `{}]}`)); err != nil || len(keys) != 0 || len(aside) != jwk.MaxKeys {
		t.Errorf("%d entries aside, %v", len(aside), err)
	}
}

// Documents that are a JWKS in spite of how they look, and some that are none, with what they are called.
func TestDocuments(t *testing.T) {
	good := rawJWK(t, nil)
	for document, want := range map[string]string{
		`{"keys":[` + good + `]}`:                                   "",
		"\ufeff" + `{"keys":[` + good + `]}`:                        "",
		`{"a":1,"a":2,"keys":[` + good + `],"b":{"keys":5}}`:        "",
		" \r\n\t" + `{"keys":[` + good + "]}\n":                     "",
		`{"keys":[` + good + `],"keys":[]}`:                         `"keys" stands twice`,
		`{"keys":[` + good + `]} {"keys":[]}`:                       `not a JSON object with an array "keys"`,
		`{"keys":[` + good + `,]}`:                                  `not a JSON object with an array "keys"`,
		`{"keys":"` + base64.StdEncoding.EncodeToString(nil) + `"}`: `not a JSON object with an array "keys"`,
		`{"message":"Too many requests."}`:                          `no array "keys"`,
		`{"Keys":[` + good + `]}`:                                   `no array "keys"`,
		`<!doctype html><title>Sign in</title>`:                     "an HTML or XML page",
		"  \n":                                                      "the answer is empty",
		"":                                                          "the answer is empty",
		"\xff\xfe{\x00}\x00":                                        `not a JSON object with an array "keys"`,
		"[" + good + "]":                                            `not a JSON object with an array "keys"`,
		good:                                                        `no array "keys"`,
		"-----BEGIN PUBLIC KEY-----":                                `not a JSON object with an array "keys"`,
		`{"keys":[` + strings.Repeat("[", 20000) + `]}`:             `not a JSON object with an array "keys"`,
		`{"keys":[{"kid":"odd","x":` + strings.Repeat("[", 20000): `not a JSON object with an array "keys"`,
		`null`:               `not a JSON object with an array "keys"`,
		`"eyJrZXlzIjpbXX0="`: `not a JSON object with an array "keys"`,
	} {
		keys, _, err := jwk.ParseKeys([]byte(document))
		switch {
		case want == "" && (err != nil || keys["odd"] == nil || keys["odd"].Fault != ""):
			t.Errorf("%q: %v, %v, want the key", show.Clip(document), keys, err)
		case want != "" && (err == nil || err.Error() != "not a JWKS: "+want):
			t.Errorf("%q: %v, want %q", show.Clip(document), err, want)
		}
	}
}
