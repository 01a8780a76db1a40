package commandtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Secrets of the tests.
const (
	SecretA = "secret-a-of-more-than-32-characters-----"
	SecretB = "secret-b-of-more-than-32-characters-----"
	SecretC = "secret-c-of-more-than-32-characters-----"
)

// Folder is a folder of configuration whose files are replaced whole, as careful tools do.
type Folder struct {
	T    *testing.T
	Path string
}

// Write replaces a file, and returns its path.
func (f Folder) Write(name, content string) string {
	f.T.Helper()
	path := filepath.Join(f.Path, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		f.T.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.T.Fatal(err)
	}
	return path
}
