package rules_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxColumns = 120
	// maxLong is the share of lines that may be longer: one in three hundred, where a break would read worse.
	maxLong = 0.003
)

// Lines of code have at most 120 characters, a tab being one; tests and their tables are excepted.
func TestLinesOfCode(t *testing.T) {
	lines, long := 0, []string{}
	for _, folder := range []string{"cmd", "envoy", "extauthz", "k8s"} {
		err := filepath.WalkDir(filepath.Join("../../..", folder), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".")):
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range bytes.Lines(content) {
				if lines++; utf8.RuneCount(bytes.TrimRight(line, "\n")) > maxColumns {
					long = append(long, path+": "+string(line))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d lines are longer than %d characters:\n%s", len(long), lines, maxColumns, strings.Join(long, ""))
	if lines < 10_000 || float64(len(long)) > maxLong*float64(lines) {
		t.Errorf("%d of %d lines are longer than %d characters", len(long), lines, maxColumns)
	}
}
