package checkwire_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"extauthz/extauthz/internal/checkwire"
)

// Whatever the text, one percent-decoding gives it back, and the header's value is harmless.
func FuzzEncodeHeader(f *testing.F) {
	for _, seed := range []string{"Zoë Day", "100%", " a ", "\r\n", "%20", "\xff", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		encoded := checkwire.EncodeHeader(text)
		if decoded, err := url.PathUnescape(encoded); err != nil || decoded != text {
			t.Errorf("%q becomes %q, and back %q (%v)", text, encoded, decoded, err)
		}
		for i := range len(encoded) {
			if c := encoded[i]; c < ' ' || c > '~' {
				t.Errorf("%q becomes %q", text, encoded)
			}
		}
		if strings.Trim(encoded, " ") != encoded || !utf8.ValidString(encoded) {
			t.Errorf("%q becomes %q", text, encoded)
		}
	})
}

func BenchmarkEncodeHeader(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		checkwire.EncodeHeader("Zoë Day")
	}
}
