package postgres

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"extauthz/extauthz/internal/session/postgres/connstring"
)

// Target is where, as whom and how to connect.
type Target struct {
	Config *pgx.ConnConfig
	schema string // where to look for the tables; empty for the search_path
}

// ReadTarget reads a connection string.
func ReadTarget(dsn string) (*Target, error) {
	config, schema, err := connstring.Parse(dsn)
	if err != nil {
		return nil, err
	}
	return &Target{config.ConnConfig, schema}, nil
}

// IsSame tells whether both lead to the same server, database and user in the same way. The password does not count: a
// connection that is open outlives it.
func (t *Target) IsSame(other *Target) bool {
	a, b := t.Config, other.Config
	return t.schema == other.schema && a.Host == b.Host && a.Port == b.Port && a.Database == b.Database && a.User == b.User &&
		a.SSLNegotiation == b.SSLNegotiation && a.SSLCertMode == b.SSLCertMode && a.ChannelBinding == b.ChannelBinding && a.RequireAuth == b.RequireAuth &&
		reflect.ValueOf(a.ValidateConnect).Pointer() == reflect.ValueOf(b.ValidateConnect).Pointer() && // one function for each target_session_attrs
		maps.Equal(a.RuntimeParams, b.RuntimeParams) && isSameTLS(a.TLSConfig, b.TLSConfig) &&
		slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(x, y *pgconn.FallbackConfig) bool {
			return x.Host == y.Host && x.Port == y.Port && isSameTLS(x.TLSConfig, y.TLSConfig)
		})
}

func isSameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && a.InsecureSkipVerify == b.InsecureSkipVerify && (a.VerifyPeerCertificate == nil) == (b.VerifyPeerCertificate == nil) &&
		(a.VerifyConnection == nil) == (b.VerifyConnection == nil) && a.MinVersion == b.MinVersion && a.MaxVersion == b.MaxVersion && a.RootCAs.Equal(b.RootCAs) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool {
			return slices.EqualFunc(x.Certificate, y.Certificate, slices.Equal[[]byte])
		})
}

// resolve returns the addresses that a host has now. There is nothing to resolve in an address or a Unix socket's
// folder.
func (t *Target) resolve(ctx context.Context, host string) (map[netip.Addr]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, NameTimeout)
	defer cancel()
	found, err := t.Config.LookupFunc(ctx, host)
	if err != nil {
		return nil, err
	}
	addresses := make(map[netip.Addr]bool)
	for _, text := range found {
		if address, is := readAddress(text); is {
			addresses[address] = true
		}
	}
	return addresses, nil
}

// readAddress reads an address, or one with a port, as a look-up may give either.
func readAddress(text string) (address netip.Addr, is bool) {
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
	hosts  map[netip.Addr]string
}

// lookedUp is what a look-up came to.
type lookedUp struct {
	addresses []string
	err       error
}

func newOrigins(lookUp pgconn.LookupFunc) *origins {
	return &origins{lookUp: lookUp, found: make(map[string]lookedUp), hosts: make(map[netip.Addr]string)}
}

// look implements [pgconn.LookupFunc], for one goroutine.
func (o *origins) look(ctx context.Context, host string) ([]string, error) {
	if found, known := o.found[host]; known {
		return found.addresses, found.err
	}
	ctx, cancel := context.WithTimeout(ctx, NameTimeout)
	defer cancel()
	addresses, err := o.lookUp(ctx, host)
	o.found[host] = lookedUp{addresses, err}
	for _, text := range addresses {
		if address, is := readAddress(text); is {
			o.hosts[address] = host
		}
	}
	return addresses, err
}

// dials makes one connection's network connections, a cancel request's among them, and can end them all.
type dials struct {
	mu     sync.Mutex
	open   []net.Conn
	ended  bool
	dialer net.Dialer
}

func newDials() *dials {
	// A peer that vanished without a word, as behind a firewall that forgot the connection, is noticed within a minute.
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}
	return &dials{dialer: net.Dialer{KeepAliveConfig: keepAlive, Timeout: connectTimeout}}
}

// dial implements [pgconn.DialFunc].
func (d *dials) dial(ctx context.Context, network, address string) (net.Conn, error) {
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

// end closes what is open.
func (d *dials) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for _, connection := range d.open {
		connection.Close()
	}
}

// addressOf is where a connection leads to; not valid for a Unix socket.
func addressOf(connection net.Conn) netip.Addr {
	tcp, is := connection.RemoteAddr().(*net.TCPAddr)
	if !is {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
