package extauthz

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between an Authorizer and PostgreSQL, and misbehaves as it is told.
type proxy struct {
	listener net.Listener
	upstream string

	accepted atomic.Int64
	// mute says which connections, counted from 1, are accepted and get no answer from the first byte on.
	mute func(number int64) bool
	mu   sync.Mutex
	open []*proxied
}

// proxied is one connection through a proxy.
type proxied struct {
	client, server net.Conn
	isStuck        atomic.Bool // what the server says no longer arrives, and nothing is closed
}

func startProxy(t *testing.T, address, upstream string, mute func(number int64) bool) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, upstream: upstream, mute: mute}
	t.Cleanup(func() {
		listener.Close()
		for _, c := range p.connections() {
			c.close()
		}
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *proxy) connections() []*proxied {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*proxied(nil), p.open...)
}

func (c *proxied) close() {
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	c := &proxied{client: client}
	number := p.accepted.Add(1)
	if p.mute == nil || !p.mute(number) {
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			client.Close()
			return
		}
		c.server = server
	}
	p.mu.Lock()
	p.open = append(p.open, c)
	p.mu.Unlock()
	if c.server == nil {
		io.Copy(io.Discard, client)
		client.Close()
		return
	}
	go func() {
		io.Copy(c.server, client)
		c.close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := c.server.Read(buffer)
		if err != nil {
			break
		}
		if c.isStuck.Load() {
			continue
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			break
		}
	}
	c.close()
}

// through is a connection string that leads through an address.
func through(t *testing.T, dsn, address string) string {
	t.Helper()
	changed, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	changed.Host = address
	return changed.String()
}

func hostOf(t *testing.T, dsn string) string {
	t.Helper()
	parsed, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// movingPooler is a pooler in the manner of PgBouncer's transaction mode: each client has a connection to each of two
// servers, and moves between them when no query is under way.
type movingPooler struct {
	listener net.Listener
	servers  [2]string
	now      atomic.Int32 // which server gets the next transaction
	moved    atomic.Int64 // transactions that the second one got
}

func startMovingPooler(t *testing.T, first, second string) *movingPooler {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &movingPooler{listener: listener, servers: [2]string{first, second}}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

// readMessage reads one message of the protocol; the first of a client has no type.
func readMessage(from io.Reader, hasType bool) (kind byte, message []byte, err error) {
	head := make([]byte, 4, 5)
	if hasType {
		head = make([]byte, 5)
	}
	if _, err := io.ReadFull(from, head); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	message = append(head, make([]byte, length)...)
	_, err = io.ReadFull(from, message[len(head):])
	return head[0], message, err
}

func (p *movingPooler) serve(client net.Conn) {
	defer client.Close()
	_, startup, err := readMessage(client, false)
	if err != nil {
		return
	}
	var servers [2]net.Conn
	for i, address := range p.servers {
		if servers[i], err = net.Dial("tcp", address); err != nil {
			return
		}
		defer servers[i].Close()
		servers[i].Write(startup)
		for kind := byte(0); kind != 'Z'; {
			var message []byte
			if kind, message, err = readMessage(servers[i], true); err != nil {
				return
			}
			if i == 0 {
				client.Write(message)
			}
		}
	}
	for { // one transaction after the other
		kind, message, err := readMessage(client, true)
		if err != nil || kind == 'X' {
			return
		}
		at := p.now.Load()
		if at == 1 {
			p.moved.Add(1)
		}
		for {
			servers[at].Write(message)
			if kind == 'S' || kind == 'Q' {
				break
			}
			if kind, message, err = readMessage(client, true); err != nil {
				return
			}
		}
		for kind = 0; kind != 'Z'; {
			if kind, message, err = readMessage(servers[at], true); err != nil {
				return
			}
			if _, err := client.Write(message); err != nil {
				return
			}
		}
	}
}
