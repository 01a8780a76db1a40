package main

import (
	"os"
	"strings"
	"testing"
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
	for _, setting := range settingTable {
		fallback, listed := rows[setting.variable]
		want := setting.fallback
		if want == "" {
			want = "unset"
		}
		if !listed || fallback != want {
			t.Errorf("%s: README.md gives the default %q, want %q", setting.variable, fallback, want)
		}
		delete(rows, setting.variable)
	}
	for name := range rows {
		t.Errorf("README.md lists %s, which is no setting", name)
	}
}
