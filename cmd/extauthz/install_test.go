package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// make install puts the binary, its manual page and its completions where Debian's and Fedora's packages have them.
func TestInstallPutsAllInPlace(t *testing.T) {
	// The Makefile alone, beside this test's binary as the command: nothing is built.
	root, place := t.TempDir(), t.TempDir()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "Makefile"), makefile, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(root, "bin/extauthz")); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "make", "-o", "build", "install", "DESTDIR="+place, "PREFIX=/usr")
	command.Dir = root
	command.Env = append(os.Environ(), "MAKEFLAGS=", endAtOnce)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for file, first := range map[string]string{
		"share/man/man1/extauthz.1":                     ".TH EXTAUTHZ 1 ",
		"share/bash-completion/completions/extauthz":    "# bash completion ",
		"share/fish/vendor_completions.d/extauthz.fish": "# fish completion ",
		"share/zsh/site-functions/_extauthz":            "#compdef extauthz\n",
	} {
		content, err := os.ReadFile(filepath.Join(place, "usr", file))
		if err != nil || !strings.HasPrefix(string(content), first) {
			t.Errorf("%s: %v, %.40q", file, err, content)
		}
	}
	if info, err := os.Stat(filepath.Join(place, "usr/bin/extauthz")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the binary: %v, %v", info, err)
	}
}
