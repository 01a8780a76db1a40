package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// inherited are the listeners that systemd opened for this process, by their FileDescriptorName (sd_listen_fds(3)).
var inherited = sync.OnceValues(activation.ListenersWithNames)

// listenersOf returns systemd's listeners of that name.
func listenersOf(name string) ([]net.Listener, error) {
	all, err := inherited()
	if err != nil {
		return nil, fmt.Errorf("wants systemd's sockets, which cannot be taken over (%w); look at the .socket unit", err)
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
	return nil, fmt.Errorf("wants a stream socket that systemd calls %q, and systemd passed %s; set FileDescriptorName=%s in the .socket unit",
		name, strings.TrimSpace(names), name)
}

// notifyTime bounds how long systemd may take to be told something.
const notifyTime = 200 * time.Millisecond

// notify tells systemd how the service is (sd_notify(3)). Where there is no systemd nothing happens.
func (s *servers) notify(states ...string) {
	if err := sendState(os.Getenv("NOTIFY_SOCKET"), strings.Join(states, "\n")); err != nil {
		s.log.Warn("systemd cannot be told", "error", err)
	}
}

// sendState sends one datagram, within notifyTime: the socket's queue may be full, and nobody there to read it.
func sendState(socket, state string) error {
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

// notifyReloading begins a reload, which READY=1 ends (sd_notify(3)).
func (s *servers) notifyReloading() {
	s.notify(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}
