package show_test

import (
	"strconv"
	"strings"
	"testing"

	"extauthz/extauthz/internal/show"
)

// FuzzQuoted: what a stranger chose is one line of bounded length, in which nothing is a terminal's command.
func FuzzQuoted(f *testing.F) {
	for _, text := range []string{"", "plain", "\x1b[2J", "a\nb", "é\u202e", "\xff", strings.Repeat("é", 300)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted := show.Quoted(text)
		if strings.ContainsFunc(quoted, func(r rune) bool { return r < ' ' || r > '~' }) || len(quoted) > 10*300 {
			t.Errorf("%q is shown as %s", text, quoted)
		}
		if read, err := strconv.Unquote(quoted); err != nil || len(text) <= 256 && read != strings.ToValidUTF8(text, read) && read != text {
			t.Errorf("%q is shown as %s: %v", text, quoted, err)
		}
	})
}
