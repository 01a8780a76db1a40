package main

import (
	"os"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/settings"
)

// README.md lists every setting with its default, and none that does not exist.
func TestReadmeListsTheSettings(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(readme)) {
		cells := strings.Split(line, "|")
		if len(cells) == 5 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			if name := strings.Trim(cells[1], " `"); name == strings.ToUpper(name) {
				rows[name] = strings.Trim(cells[2], " `")
			}
		}
	}
	for _, setting := range settings.Table {
		fallback, listed := rows[setting.Variable]
		want := setting.Fallback
		if want == "" {
			want = "unset"
		}
		if !listed || fallback != want {
			t.Errorf("%s: README.md gives the default %q, want %q", setting.Variable, fallback, want)
		}
		delete(rows, setting.Variable)
	}
	for name := range rows {
		t.Errorf("README.md lists %s, which is not a setting", name)
	}
}
