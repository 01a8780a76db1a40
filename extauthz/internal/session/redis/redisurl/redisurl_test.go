package redisurl

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, expected := range map[string]string{
		"redis://h":                              "0 [h:6379] {} 0  {} false",
		"valkey://h:1/2":                         "0 [h:1] {} 2  {} false",
		"redis://:p%40ss@h/":                     "0 [h:6379] { p@ss} 0  {} false",
		"redis://u:p@h:7000/3":                   "0 [h:7000] {u p} 3  {} false",
		"redis://u:p:q@[::1]:7000?db=4":          "0 [[::1]:7000] {u p:q} 4  {} false",
		"rediss://a,b:2":                         "0 [a:6379 b:2] {} 0  {} true",
		"redis://h?ssl=true&ssl_cert_reqs=none":  "0 [h:6379] {} 0  {} true",
		"redis-sentinel://:p@a,b:2/mymaster/5":   "1 [a:26379 b:2] { p} 5 mymaster {} false",
		"redis+sentinel://a/5?master_set=m":      "1 [a:26379] {} 5 m {} false",
		"sentinel://a/m?sentinel_password=s":     "1 [a:26379] {} 0 m { s} false",
		"rediss-cluster://u:p@a,b":               "2 [a:6379 b:6379] {u p} 0  {} true",
		"unix:///run/redis.sock?db=1&password=p": "0 [/run/redis.sock] { p} 1  {} false",
	} {
		o, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		login := func(l Login) string {
			if l == (Login{}) {
				return "{}"
			}
			return fmt.Sprint(l)
		}
		got := fmt.Sprint(o.Mode, " ", o.Hosts, " ", login(o.Login), " ", o.Database, " ", o.Master, " ", login(o.Sentinel), " ", o.TLS != nil)
		if got != expected {
			t.Errorf("%s: %s, expected %s", text, got, expected)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "h:6379", "http://h", "postgres://h", "redis://", "redis://h:0", "redis://h:65536", "redis://h:x", "redis://h/x", "redis://h/-1",
		"redis://,h", "redis://::1", "redis://[::1", "redis://h/0 ", "redis://h /0", "redis://secret@h", "redis://u:secret/x@h", "redis://u:sec%ret@h",
		"redis://u:secret?x@h", "redis-sentinel://h", "redis-sentinel://h/m/x", "redis-cluster://h/1", "redis://h?master=m",
		"redis://h?ssl_ca_certs=/x", "rediss://h?ssl_ca_certs=/secret/missing", "rediss://h?tls=false", "rediss://h?ssl_certfile=/x", "rediss://h?ssl_cert_reqs=secret",
		"redis://h?tls=secret", "unix://h/path", "unix:///", "unix:///x?tls=true", "redis://h\x00", "redis://h?db=secret", "redis://h?a=%zz",
	} {
		o, err := Parse(text)
		switch {
		case text == "redis://h/0 ":
			if err != nil {
				t.Errorf("%q: %v", text, err) // blanks at the end are a file's
			}
		case err == nil:
			t.Errorf("%q: %+v, expected a refusal", text, o)
		case strings.Contains(err.Error(), "secret") && !strings.Contains(text, "/secret/"):
			t.Errorf("%q: the error shows it: %v", text, err)
		}
	}
}

func TestUnknownParametersAreTold(t *testing.T) {
	o, err := Parse("redis://h?family=4&timeout=1&x=secret")
	if err != nil || fmt.Sprint(o.Unknown) != "[family timeout x]" {
		t.Error(o, err)
	}
}

func TestIsSame(t *testing.T) {
	same := func(a, b string) bool {
		x, err := Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		y, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return x.IsSame(y)
	}
	if !same("redis://u:a@h", "redis://u:b@h:6379/0") || same("redis://h", "redis://h/1") || same("redis://h", "rediss://h") ||
		same("redis://u:p@h", "redis://v:p@h") || same("redis://h", "redis-cluster://h") || same("rediss://h", "rediss://h?ssl_cert_reqs=none") {
		t.Error("what counts as the same is wrong")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("redis://u:p@h:1/0?x=y")
	f.Add("redis-sentinel://a,b/m")
	f.Fuzz(func(t *testing.T, text string) {
		if o, err := Parse(text); err == nil && len(o.Hosts) == 0 {
			t.Errorf("%+v", o)
		}
	})
}
