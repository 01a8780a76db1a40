package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"extauthz/cmd/extauthz/internal/systemd"
)

// Listen opens the address. A socket file that a crashed server left behind is replaced; one that
// somebody listens on is not.
func (a Address) Listen() ([]net.Listener, error) {
	switch a.Network {
	case "systemd":
		return systemd.Listeners(a.Name)
	case "tcp":
		listener, err := net.Listen("tcp", a.Name)
		if err != nil {
			return nil, fmt.Errorf("cannot be listened on (%w); choose a free address of this machine", err)
		}
		return []net.Listener{listener}, nil
	}
	if a.isAbstract() { // gone with the process that has it, so there is nothing to clear away and nothing to set
		listener, err := net.Listen("unix", a.Name)
		if err != nil {
			return nil, fmt.Errorf("cannot be listened on (%w); "+
				"choose a name that no process of this network namespace has", err)
		}
		return []net.Listener{listener}, nil
	}
	if info, err := os.Lstat(a.Name); err == nil && info.Mode().Type() == fs.ModeSocket {
		if connection, err := net.Dial("unix", a.Name); err == nil {
			connection.Close()
			return nil, fmt.Errorf("names %s, where another process listens; stop it or choose another path", a.Name)
		}
		os.Remove(a.Name)
	}
	if a.mode != 0 { // from the first moment, and not only once its mode is set
		before := syscall.Umask(0o777 &^ int(a.mode))
		defer syscall.Umask(before)
	}
	listener, err := net.Listen("unix", a.Name)
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
func (a Address) setRights() error {
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
		return fmt.Errorf("names an owner that does not exist (%w); write a user or group of this machine", err)
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(a.Name, uid, gid); err != nil {
			return fmt.Errorf("names an owner that may not be set (%w); leave user and group out, or run with the right to", err)
		}
	}
	if a.mode != 0 {
		if err := os.Chmod(a.Name, a.mode); err != nil {
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
