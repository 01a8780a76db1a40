package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// address is where a server listens: TCP, a Unix socket with the rights of its file, or what systemd opened.
type address struct {
	network, name string
	mode          fs.FileMode // of the socket; 0 leaves what the umask gives
	owner, group  string      // names or numbers; empty leaves those of the process
}

// parseAddress reads host:port, unix:///path?mode=0660&user=…&group=…, or systemd:name.
func parseAddress(value string) (a address, err error) {
	if rest, isUnix := strings.CutPrefix(value, "unix://"); isUnix {
		path, rawQuery, _ := strings.Cut(rest, "?")
		if !strings.HasPrefix(path, "/") {
			return a, fmt.Errorf("is %q; write an absolute path, as in unix:///run/extauthz.sock", value)
		}
		a = address{network: "unix", name: path}
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return a, fmt.Errorf("is %q; write its options as ?mode=0660&user=name&group=name", value)
		}
		for name, values := range query {
			switch name {
			case "mode":
				mode, err := strconv.ParseUint(values[0], 8, 32)
				if err != nil || mode == 0 || mode > 0o777 {
					return a, fmt.Errorf("has the mode %q; write an octal number, as in mode=0660", values[0])
				}
				a.mode = fs.FileMode(mode)
			case "user":
				a.owner = values[0]
			case "group":
				a.group = values[0]
			default:
				return a, fmt.Errorf("has an option %q; there are mode, user and group", name)
			}
		}
		return a, nil
	}
	if name, isSystemd := strings.CutPrefix(value, "systemd:"); isSystemd {
		if name == "" {
			return a, fmt.Errorf("is %q; write the socket's FileDescriptorName behind it, as in systemd:checks", value)
		}
		return address{network: "systemd", name: name}, nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return a, fmt.Errorf("is %q; write host:port, as in 127.0.0.1:9191 or :9191, unix:///path or systemd:name", value)
	}
	return address{network: "tcp", name: value}, nil
}

// listen opens the address. A socket file that a crashed server left behind is replaced; one that
// somebody listens on is not.
func (a address) listen() ([]net.Listener, error) {
	switch a.network {
	case "systemd":
		return listenersOf(a.name)
	case "tcp":
		listener, err := net.Listen("tcp", a.name)
		if err != nil {
			return nil, fmt.Errorf("cannot be listened on (%w); choose a free address of this machine", err)
		}
		return []net.Listener{listener}, nil
	}
	if info, err := os.Lstat(a.name); err == nil && info.Mode().Type() == fs.ModeSocket {
		if connection, err := net.Dial("unix", a.name); err == nil {
			connection.Close()
			return nil, fmt.Errorf("names %s, where another process listens; stop it or choose another path", a.name)
		}
		os.Remove(a.name)
	}
	if a.mode != 0 { // from the first moment, and not only once its mode is set
		before := syscall.Umask(0o777 &^ int(a.mode))
		defer syscall.Umask(before)
	}
	listener, err := net.Listen("unix", a.name)
	if err != nil {
		return nil, fmt.Errorf("cannot be listened on (%w); choose a path in a folder that exists and may be written", err)
	}
	if err := a.setRights(); err != nil {
		listener.Close()
		return nil, err
	}
	return []net.Listener{listener}, nil
}

// setRights gives the socket's file its owner and mode.
func (a address) setRights() error {
	uid, err1 := idOf(a.owner, func(name string) (string, error) {
		found, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return found.Uid, nil
	})
	gid, err2 := idOf(a.group, func(name string) (string, error) {
		found, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return found.Gid, nil
	})
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("names an owner that is not known (%w); write a name or number of this machine", err)
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(a.name, uid, gid); err != nil {
			return fmt.Errorf("names an owner that may not be set (%w); leave user and group out, or run with the right to", err)
		}
	}
	if a.mode != 0 {
		if err := os.Chmod(a.name, a.mode); err != nil {
			return fmt.Errorf("has a mode that cannot be set (%w)", err)
		}
	}
	return nil
}

// idOf is a number as it stands, or what a name is looked up to; -1 when there is none.
func idOf(name string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if number, err := strconv.Atoi(name); err == nil && number >= 0 {
		return number, nil
	}
	found, err := lookup(name)
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(found)
}
