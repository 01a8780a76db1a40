package listen

import (
	"strings"
	"testing"
)

// An address means what it says, or is a fault that says what to write; none makes a file that nobody asked for.
func TestParseAddress(t *testing.T) {
	long := strings.Repeat("n", MaxSocketName)
	for _, row := range []struct {
		value string
		want  Address
		fault string
	}{
		{":9191", Address{Network: "tcp", Name: ":9191"}, ""},
		{"[::1]:9191", Address{Network: "tcp", Name: "[::1]:9191"}, ""},
		{"systemd:checks", Address{Network: "systemd", Name: "checks"}, ""},
		{"unix:///run/extauthz.sock", Address{Network: "unix", Name: "/run/extauthz.sock"}, ""},
		{"unix:///run/a b@c.sock", Address{Network: "unix", Name: "/run/a b@c.sock"}, ""},
		{"unix:///run/@name", Address{Network: "unix", Name: "/run/@name"}, ""},
		{"unix:///run/x?mode=0660&user=1&group=daemon", Address{Network: "unix", Name: "/run/x", mode: 0o660, owner: "1", group: "daemon"}, ""},
		{"unix:///" + long[1:], Address{Network: "unix", Name: "/" + long[1:]}, ""},
		{"unix://@name", Address{Network: "unix", Name: "@name"}, ""},
		{"unix:@name", Address{Network: "unix", Name: "@name"}, ""},
		{"unix://@a/b c", Address{Network: "unix", Name: "@a/b c"}, ""},
		{"unix://@" + long[1:], Address{Network: "unix", Name: "@" + long[1:]}, ""},

		{"unix:///@name", Address{}, "write unix://@name for an abstract socket"},
		{"unix:///@name?mode=0660", Address{}, "write unix://@name for an abstract socket"},
		{"unix:/@name", Address{}, "write unix://@name for an abstract socket"},
		{"unix:name", Address{}, "write an absolute path"},
		{"unix:/run/x.sock", Address{}, "write an absolute path"},
		{"unix://run/x.sock", Address{}, "write an absolute path"},
		{"unix:////@name", Address{}, ""}, // see below
		{"unix:", Address{}, "write an absolute path"},
		{"unix://", Address{}, "write an absolute path"},
		{"unix://?mode=0660", Address{}, "write an absolute path"},
		{"unix:// @name", Address{}, "write an absolute path"},
		{"unix:// /run/x.sock", Address{}, "write an absolute path"},
		{"unix:///", Address{}, "names no socket"},
		{"unix:///run/", Address{}, "names no socket"},
		{"unix://@", Address{}, "names no socket"},
		{"unix:@", Address{}, "names no socket"},
		{"unix:///run/my%20sock", Address{}, "nothing is decoded"},
		{"unix:///%40name", Address{}, "nothing is decoded"},
		{"unix://%40name", Address{}, "write an absolute path"},
		{"unix://@na%6de", Address{}, "nothing is decoded"},
		{"unix://@na\x00me", Address{}, "control character"},
		{"unix:///run/x\n", Address{}, "control character"},
		{"unix:///" + long, Address{}, "names a Unix socket by 108 bytes, and 107 are allowed"},
		{"unix://@" + long, Address{}, "names a Unix socket by 108 bytes, and 107 are allowed"},
		{"unix://@name?mode=0660", Address{}, "mode, user and group cannot be set"},
		{"unix:@name?user=envoy", Address{}, "mode, user and group cannot be set"},
		{"unix://@name?", Address{}, "mode, user and group cannot be set"},
		{"unix:///run/x?mode=0660&mode=0777", Address{}, "has the option mode more than once"},
		{"unix:///run/x?user=", Address{}, "has an empty option user"},
		{"unix:///run/x?mode=", Address{}, "has the mode"},
		{"unix:///run/x?mode=0", Address{}, "has the mode"},
		{"unix:///run/x?mode=1777", Address{}, "has the mode"},
		{"unix:///run/x?mode", Address{}, "has the mode"},
		{"unix:///run/x?owner=me", Address{}, `has an option "owner"`},
		{"unix:///run/x?mode=%zz", Address{}, "write its options as"},
		{"UNIX:///run/x", Address{}, "write host:port"},
		{"unix-abstract:name", Address{}, "write host:port"},
		{"@name", Address{}, "write host:port"},
		{"systemd:", Address{}, "FileDescriptorName"},
		{"9191", Address{}, "write host:port"},
		{"", Address{}, "write host:port"},
	} {
		if row.value == "unix:////@name" { // an absolute path like any other, of the root's folder
			row.fault, row.want = "", Address{Network: "unix", Name: "//@name"}
		}
		got, err := Parse(row.value)
		switch {
		case row.fault == "" && (err != nil || got != row.want):
			t.Errorf("%q: %+v, %v; want %+v", row.value, got, err, row.want)
		case row.fault != "" && (err == nil || !strings.Contains(err.Error(), row.fault)):
			t.Errorf("%q: %+v, %v; want a fault with %q", row.value, got, err, row.fault)
		}
	}
}
