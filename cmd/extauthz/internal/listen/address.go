// Package listen reads addresses as the settings have them, and listens on them. It does not know who is served there.
package listen

import (
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"

	"extauthz/cmd/extauthz/internal/discreet"
)

// Address is where a server listens: TCP, a Unix socket with the rights of its file, an abstract Unix socket, or what
// systemd opened.
type Address struct {
	Network, Name string      // of an abstract socket with the @ in front, as Go and Envoy have it
	mode          fs.FileMode // of the socket's file; 0 leaves what the umask gives
	owner, group  string      // names or numbers; empty leaves those of the process
}

// MaxSocketName is how long the name of a Unix socket may be, in bytes: sun_path of unix(7) has 108, of which one
// ends a path. Of an abstract name one is the @; Linux would let it have another, Envoy does not.
const MaxSocketName = 107

// isAbstract tells whether the socket has a name in Linux's abstract namespace and no file.
func (a Address) isAbstract() bool { return a.Network == "unix" && strings.HasPrefix(a.Name, "@") }

// Parse reads host:port, unix:///path?mode=0660&user=…&group=…, unix://@name, or systemd:name.
func Parse(value string) (Address, error) {
	if rest, isUnix := strings.CutPrefix(value, "unix:"); isUnix {
		return parseSocket(value, rest)
	}
	if name, isSystemd := strings.CutPrefix(value, "systemd:"); isSystemd {
		if name == "" {
			return Address{}, fmt.Errorf("is %q; write the socket's FileDescriptorName behind it, as in systemd:checks", value)
		}
		return Address{Network: "systemd", Name: name}, nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return Address{}, fmt.Errorf("is %q; write host:port, as in 127.0.0.1:9191 or :9191, "+
			"unix:///path or systemd:name", value)
	}
	return Address{Network: "tcp", Name: value}, nil
}

// parseSocket reads what follows unix: in an address. Nothing in it is decoded, so that a name is the bytes that it
// shows.
func parseSocket(value, rest string) (a Address, err error) {
	path, options, hasOptions := strings.Cut(rest, "?")
	path, hasSlashes := strings.CutPrefix(path, "//")
	a = Address{Network: "unix", Name: path}
	switch {
	case strings.HasPrefix(path, "/@"):
		return a, fmt.Errorf("is %q; write unix://%s for an abstract socket, or name a file in a folder, "+
			"as in unix:///run/extauthz.sock", value, path[1:])
	case !a.isAbstract() && !(hasSlashes && strings.HasPrefix(path, "/")):
		return a, fmt.Errorf("is %q; write an absolute path, as in unix:///run/extauthz.sock, "+
			"or unix://@name for an abstract socket", value)
	case path == "@" || strings.HasSuffix(path, "/"):
		return a, fmt.Errorf("is %q, which names no socket; write unix:///run/extauthz.sock or unix://@name", value)
	case strings.Contains(path, "%"):
		return a, fmt.Errorf("is %q, which holds a %%; nothing is decoded in it: write the name itself, without %%", value)
	case strings.ContainsFunc(path, discreet.IsControl):
		return a, fmt.Errorf("is %q, which holds a control character; choose a name without", value)
	case len(path) > MaxSocketName:
		return a, fmt.Errorf("names a Unix socket by %d bytes, and %d are allowed; choose a shorter name",
			len(path), MaxSocketName)
	case a.isAbstract() && hasOptions:
		return a, fmt.Errorf("is %q; an abstract socket has no file, so mode, user and group cannot be set: "+
			"leave them out, or write unix:///path", value)
	}
	return a, a.readOptions(value, options)
}

// readOptions reads mode, user and group of the socket's file.
func (a *Address) readOptions(value, options string) error {
	query, err := url.ParseQuery(options)
	if err != nil {
		return fmt.Errorf("is %q; write its options as ?mode=0660&user=name&group=name", value)
	}
	for name, values := range query {
		into := map[string]*string{"user": &a.owner, "group": &a.group, "mode": new(string)}[name]
		switch {
		case into == nil:
			return fmt.Errorf("has an option %q; there are mode, user and group", name)
		case len(values) > 1:
			return fmt.Errorf("has the option %s more than once; keep one", name)
		case values[0] == "" && name != "mode":
			return fmt.Errorf("has an empty option %s; write %s=name, or leave it out", name, name)
		}
		*into = values[0]
		if name != "mode" {
			continue
		}
		mode, err := strconv.ParseUint(values[0], 8, 32)
		if err != nil || mode == 0 || mode > 0o777 {
			return fmt.Errorf("has the mode %q; write an octal number, as in mode=0660", values[0])
		}
		a.mode = fs.FileMode(mode)
	}
	return nil
}
