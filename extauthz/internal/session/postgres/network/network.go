// Package network makes one connection's network connections and looks its hosts up, each bounded and each to be ended
// at once. It imports nothing of this module, and does not know what is sent.
package network

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// connectTimeout bounds how long one address is waited for.
	connectTimeout = 2 * time.Second
	// NameTimeout bounds how long one name's look-up is waited for: of several hosts another may be known.
	NameTimeout = 3 * time.Second
)

// ReadAddress reads an address, or one with a port, as a look-up may give either.
func ReadAddress(text string) (address netip.Addr, is bool) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap().WithZone(""), err == nil
}

// origins looks up the hosts of one attempt to connect, each once and not for long, and remembers of which host each
// address is. pgx looks up all hosts before it connects to the first, and each again for the way without TLS.
type origins struct {
	lookUp pgconn.LookupFunc
	found  map[string]lookedUp
	Hosts  map[netip.Addr]string
}

// lookedUp is what a look-up came to.
type lookedUp struct {
	addresses []string
	err       error
}

// NewOrigins looks up by lookUp.
func NewOrigins(lookUp pgconn.LookupFunc) *origins {
	return &origins{lookUp: lookUp, found: make(map[string]lookedUp), Hosts: make(map[netip.Addr]string)}
}

// Look implements [pgconn.LookupFunc], for one goroutine.
func (o *origins) Look(ctx context.Context, host string) ([]string, error) {
	if found, known := o.found[host]; known {
		return found.addresses, found.err
	}
	ctx, cancel := context.WithTimeout(ctx, NameTimeout)
	defer cancel()
	addresses, err := o.lookUp(ctx, host)
	o.found[host] = lookedUp{addresses, err}
	for _, text := range addresses {
		if address, is := ReadAddress(text); is {
			o.Hosts[address] = host
		}
	}
	return addresses, err
}

// Dials makes one connection's network connections, a cancel request's among them, and can end them all.
type Dials struct {
	mu     sync.Mutex
	open   []net.Conn
	ended  bool
	dialer net.Dialer
}

// NewDials has made no connection yet.
func NewDials() *Dials {
	// A peer that vanished without a word, as behind a firewall that forgot the connection, is noticed within a minute.
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}
	return &Dials{dialer: net.Dialer{KeepAliveConfig: keepAlive, Timeout: connectTimeout}}
}

// Dial implements [pgconn.DialFunc].
func (d *Dials) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	connection, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		connection.Close()
		return nil, net.ErrClosed
	}
	d.open = append(d.open, connection)
	return connection, nil
}

// End closes what is open.
func (d *Dials) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for _, connection := range d.open {
		connection.Close()
	}
}

// AddressOf is where a connection leads to; not valid for a Unix socket.
func AddressOf(connection net.Conn) netip.Addr {
	tcp, is := connection.RemoteAddr().(*net.TCPAddr)
	if !is {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
