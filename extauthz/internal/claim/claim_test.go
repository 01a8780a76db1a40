package claim_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"extauthz/extauthz/internal/claim"
)

// A name reaches into objects by its dots, and the longest name of a member goes first.
func TestFind(t *testing.T) {
	const claims = `{"role":"a","o":{"id":"org-1","x.y":{"z":1},"x":{"y.z":2}},"https://example.com/role":"b","o.id":"whole","":{"a":1},"n":null,"list":["a",1,true]}`
	for name, want := range map[string]string{
		"role": "a", "o.id": "whole", "https://example.com/role": "b", "o.x.y.z": "1", "o.missing": "", "role.a": "", ".a": "",
		"list": "a,1,true", "list.0": "", "n": "", "o": `{"id":"org-1","x.y":{"z":1},"x":{"y.z":2}}`, "": "", "o.": "",
	} {
		found, err := claim.Find([]byte(claims), name, "role")
		if err != nil || len(found) != 2 || claim.Text(found[1]) != "a" {
			t.Fatalf("%q: %s, %v", name, found, err)
		}
		if got := claim.Text(found[0]); got != want {
			t.Errorf("%q: %q, expected %q", name, got, want)
		}
	}
	for _, broken := range []string{``, `[]`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{} x`, `{"a":"\ud800"}`} {
		if found, err := claim.Find([]byte(broken), "a.b"); err == nil {
			t.Errorf("%s: %s", broken, found)
		}
	}
}

// What cannot be joined by commas without a doubt is told as JSON.
func TestText(t *testing.T) {
	for raw, want := range map[string]string{
		`"a"`: "a", `"a\r\nb"`: "a\r\nb", `1e3`: "1e3", `true`: "true", `null`: "", ``: "", `[]`: "", `["a","b"]`: "a,b",
		`["a,b"]`: `["a,b"]`, `["a",""]`: `["a",""]`, `["a",null]`: `["a",null]`, `[["a"]]`: `[["a"]]`, `{ "a" : 1 }`: `{"a":1}`,
	} {
		if got := claim.Text(jsontext.Value(raw)); got != want {
			t.Errorf("%s: %q, expected %q", raw, got, want)
		}
	}
}

// FuzzFind: any object and name can be read, and what is found lies in the object.
func FuzzFind(f *testing.F) {
	f.Add(`{"o":{"id":"a"}}`, "o.id")
	f.Add(`{"a.b":1,"a":{"b":2}}`, "a.b")
	f.Fuzz(func(t *testing.T, object, name string) {
		found, err := claim.Find([]byte(object), name)
		if err != nil {
			return
		}
		if len(found[0]) > 0 && !strings.Contains(object, string(found[0])) {
			t.Errorf("%s is not in %s", found[0], object)
		}
		claim.Text(found[0])
	})
}

func BenchmarkFind(b *testing.B) {
	payload := []byte(`{"name":"Zoe","email":"zoe@example.com","emailVerified":true,"role":"admin","o":{"id":"org-1","role":"owner"},"iat":1,"exp":2,"iss":"a","aud":"b"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := claim.Find(payload, "role", "o.id", "o.role", "emailVerified"); err != nil {
			b.Fatal(err)
		}
	}
}
