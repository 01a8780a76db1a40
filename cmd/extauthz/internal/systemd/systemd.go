// Package systemd speaks systemd's own protocols: sockets that it has opened, and what it is told of the service. It
// imports no other room and does not know what is served.
package systemd

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// inherited are the listeners that systemd opened for this process, by their FileDescriptorName (sd_listen_fds(3)).
var inherited = sync.OnceValues(activation.ListenersWithNames)

// Listeners returns systemd's listeners of that name.
func Listeners(name string) ([]net.Listener, error) {
	all, err := inherited()
	if err != nil {
		return nil, fmt.Errorf("needs systemd's sockets, which cannot be used (%w); check the .socket unit", err)
	}
	if found := all[name]; len(found) > 0 && !slices.Contains(found, nil) {
		return found, nil
	}
	names := "none"
	if len(all) > 0 {
		names = ""
		for name := range all {
			names += " " + name
		}
	}
	return nil, fmt.Errorf("needs a stream socket that systemd names %q, but systemd passed %s; set FileDescriptorName=%s in the .socket unit",
		name, strings.TrimSpace(names), name)
}

// notifyTime bounds how long systemd may take to be told something.
const notifyTime = 200 * time.Millisecond

// Send sends one datagram, within notifyTime: the socket's queue may be full, and nobody there to read it.
func Send(socket, state string) error {
	if socket == "" {
		return nil
	}
	connection, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetWriteDeadline(time.Now().Add(notifyTime))
	_, err = connection.Write([]byte(state))
	return err
}
