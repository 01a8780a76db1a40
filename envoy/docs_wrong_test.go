package envoy

import (
	"fmt"
	"strings"
	"testing"
)

// The tests of the pages can fail: each kind of wrong page is found.

func TestDocsFindBlocksThatNothingTries(t *testing.T) {
	const fence = "```"
	for name, page := range map[string]string{
		"no language":              fence + "\nx\n" + fence + "\n",
		"no way":                   fence + "sh\nx\n" + fence + "\n",
		"a way of another":         fence + "yaml demo\nx: 1\n" + fence + "\n",
		"a language of nobody's":   fence + "toml settings\nx = 1\n" + fence + "\n",
		"not run, without a why":   fence + "sh checked\nmake build\n" + fence + "\n",
		"run, with a why":          fence + "console demo: because\n$ true\n" + fence + "\n",
		"a kind of another page's": fence + "yaml prometheus\nrule_files: [alerts.yaml]\n" + fence + "\n",
		"empty":                    fence + "sh demo\n" + fence + "\n",
		"without an end":           fence + "sh demo\nx\n",
		"tildes":                   "~~~sh\nx\n~~~\n",
		"four backticks":           fence + "`sh\nx\n" + fence + "`\n",
		"in a quotation":           "> " + fence + "sh\n> x\n> " + fence + "\n",
		"HTML":                     "<pre>x</pre>\n",
		"by its indentation alone": "Run:\n\n    extauthz serve\n",
		"by a tab":                 "Run:\n\n\textauthz serve\n",
		"behind a list's mark":     "- " + fence + "sh demo\n  x\n  " + fence + "\n",
		"half out of its list":     "   " + fence + "sh demo\nx\n   " + fence + "\n",
		// The first block's end has a space behind it; what it would swallow is a block of its own.
		"behind an end with a space": fence + "sh demo\nx\n" + fence + " \n\n" + fence + "sh\ny\n" + fence + "\n",
		"with the line ends of DOS":  fence + "sh demo\r\nx\r\n" + fence + "\r\n" + fence + "sh\r\ny\r\n" + fence + "\r\n",
	} {
		blocks, faults := readBlocks("docs/page.md", page)
		for _, b := range blocks {
			if fault := untried(b); fault != "" {
				faults = append(faults, fault)
			}
		}
		if len(faults) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	const page = "1. Run it:\n\n   " + fence + "sh demo\n   x\n   " + fence + "  \n\n" + fence + "console bare\n$ y\n" + fence + "\n"
	blocks, faults := readBlocks("docs/page.md", page)
	if len(faults) > 0 || len(blocks) != 2 || untried(blocks[0])+untried(blocks[1]) != "" || blocks[0].text != "x\n" {
		t.Errorf("two blocks that are as they should be: %+v %q", blocks, faults)
	}
}

func TestDocsCompareWhatIsPrinted(t *testing.T) {
	const anId, another = "hflIQlvyfwa0jdoZ3UqvSFGbgegsWxkr", "6PHMEINQUth1FaHjYMsarPgQEyAVsS2P"
	for _, pair := range [][2]string{
		{"200 OK", "401 Unauthorized"},
		{"id " + anId, "id admin"},
		{anId + " is " + anId, anId + " is " + another},
		{anId + " is not " + another, another + " is not " + another},
		{"real\t0m11.072s", "real\t0m0.072s"},
		{"expires in 14m59s", "expires in 2m0s"},
		{"expires in 14m59s", "expires in 167m59s"},
		{"Envoy 1.40.0", "Envoy 1.36.4"},
		{"at 2026-11-25T08:16:17Z", "at 1970-01-01T00:00:00Z"},
		{`"created_at":1795583815`, `"created_at":null`},
		{"a\n\nb", "a\nb"},
		{"nothing", ""},
		{"", "something"},
	} {
		if difference(pair[0], pair[1]) == "" {
			t.Errorf("%q and %q are taken for the same", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{anId + " is " + anId + " in 5ms", another + " is " + another + " in 1.5s"},
		{"real\t0m11.072s", "real\t0m40s"},
		{"expires 2026-11-25T08:16:17Z, in 14m59s", "expires 2027-01-01T00:00:00Z, in 14m2s"},
		{"a  \n", "a\n\n"},
	} {
		if d := difference(pair[0], pair[1]); d != "" {
			t.Errorf("%q and %q differ:\n%s", pair[0], pair[1], d)
		}
	}
}

func TestDocsCommandsCanFail(t *testing.T) {
	place := startDocsPlace(t)
	for text, want := range map[string]string{
		"console bare\n$ echo a\nb\n":                              "prints something else",
		"console bare\n$ echo a\n":                                 "prints something else",
		"console bare\n$ extauthz --nonsense\nfine\n":              "prints something else",
		"console bare\n$ cat nowhere 2>/dev/null >there\n":         "exit status 1",
		"console bare\n$ curl -s http://localhost:3999/\n":         "exit status 7",
		"console bare\n$ exit 0\n$ echo a\na\n":                    "the shell ended",
		"console bare\n$ if true\nthen\n":                          "the shell ended",
		"sh bare\nextauthz config >/dev/null\nfalse\n":             "the shell ended",
		"sh bare\nextauthz config --nonsense >/dev/null\necho a\n": "the shell ended",
	} {
		blocks, faults := readBlocks("docs/page.md", "```"+text+"```\n")
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if _, report := tryBlocks(t, place, blocks, false); !strings.Contains(report, want) {
			t.Errorf("%q: %q, want %q", text, report, want)
		}
	}
	const page = "```console bare\n$ echo a\na\n$ true\n```\n```sh bare\nX=b\n```\n```console bare\n$ echo $X\nb\n```\n"
	blocks, _ := readBlocks("docs/page.md", page)
	if _, report := tryBlocks(t, place, blocks, false); report != "" {
		t.Errorf("as it should be: %s", report)
	}
}

func TestDocsFindWrongSettings(t *testing.T) {
	for _, text := range []string{
		"EXTAUTHZ_TRUSTED_ORIGIN=https://app.example.com\n", "EXTAUTHZ_TRUSTED_ORIGINS = https://app.example.com\n",
		"BETTER_AUTH_SECRT=x\n", "EXTAUTHZ_SHADOW=maybe\n", "EXTAUTHZ_LOG_LEVEL=warn\nEXTAUTHZ_READY=soon\n",
		"OTEL_EXPORTER_OTLP_ENDPONT=http://127.0.0.1:4317\n",
		"OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:4317\nOTEL_EXPORTER_OTLP_PROTOCOL=carrier-pigeon\n",
	} {
		if settingsFault(t, text) == "" {
			t.Errorf("nothing is wrong with %q", text)
		}
	}
}

func TestDocsFindWrongClaims(t *testing.T) {
	c := newClaims(t)
	var found []string
	c.fault = func(format string, values ...any) { found = append(found, fmt.Sprintf(format, values...)) }
	for _, text := range []string{
		"extauthz doctr", "extauthz doctor --envoi x", "extauthz doctor --admin x", "make tests", "extauhtz serve",
		"EXTAUTHZ_LISTE=x extauthz serve", "EXTAUTHZ_SESSION=x extauthz serve", "export BETTER_AUTH_SECRETS_FLE=/x",
		"export JWKS_URI=x", "export DATABASE_URLS=x", "kubectl apply -f k8s/nowhere", "make build && make tests",
		"sudo -u nobody extauthz doctor --backends x", "go test -run TestNothingOfTheKind ./envoy", "echo x | extauthz chek -",
	} {
		found = nil
		if c.check("page", text); len(found) == 0 {
			t.Errorf("nothing is wrong with %q", text)
		}
	}
	found = nil
	if c.testsExist("page", "TestStrange runs it"); len(found) == 0 {
		t.Error("a test that there is not is taken for one")
	}
}
