package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"extauthz/extauthz/internal/session"
	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/resp"
	"extauthz/extauthz/internal/session/redis/secondary"
	"extauthz/extauthz/internal/session/redis/server"
)

const (
	// openTimeout bounds how long it takes until a connection is good, whatever the number of addresses.
	openTimeout = 15 * time.Second
	// asking is in front of a key that is asked of the node that a slot moves to, with ASKING before it.
	asking = "\x00asking\x00"
)

// target is where and as whom to connect.
type target struct {
	*redisurl.Options
	at []string // host:port each, or a Unix socket's path, tried in this order
}

// IsSame implements [pool.Target].
func (t *target) IsSame(other *target) bool {
	return t.Options.IsSame(other.Options) && slices.Equal(t.at, other.at)
}

// answer is what is kept under a key.
type answer struct {
	text string
	// fault is why it cannot be used: another type, or too long. It is the key's own.
	fault error
	// elsewhere is the node of a Cluster to ask instead, forOnce for this time alone.
	elsewhere string
	forOnce   bool
	// outage is why nobody can say what is kept under this key alone.
	outage error
}

var (
	errReplica = errors.New("it is a replica, which does not see yet who has just signed out; " +
		"name the master, or its Sentinels")
	errType = errors.New("another type than a string is kept under its key")
	errLong = fmt.Errorf("it is longer than %d bytes", secondary.MaxValue)
)

// connection is one connection to a master. It is used by one goroutine at a time, but for Interrupt.
type connection struct {
	*resp.Conn
	store   *Store
	target  *target
	host    string // the name that led to address; empty for an address that was given as such, or a Unix socket
	address netip.Addr
	useful  atomic.Bool // it has answered a check
}

// open makes a connection to the first of the target's addresses that is a master's, and proves that it answers.
func (s *Store) open(ctx context.Context, to *target) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var faults []string
	for _, address := range to.at {
		c, err := s.openAt(ctx, to, address)
		if err == nil {
			return c, nil
		}
		text := err.Error()
		if len(to.at) > 1 {
			text = address + ": " + text
		}
		faults = append(faults, text)
	}
	return nil, errors.New(strings.Join(faults, "; "))
}

func (s *Store) openAt(ctx context.Context, to *target, address string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, server.DialTimeout)
	defer cancel()
	network, err := server.Dial(ctx, to.Options, address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: resp.New(network), store: s, target: to}
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) == nil {
		c.host = host
	}
	if peer, is := network.RemoteAddr().(*net.TCPAddr); is {
		c.address = peer.AddrPort().Addr().Unmap()
	}
	stop := context.AfterFunc(ctx, c.Interrupt)
	defer stop()
	err = server.LogIn(c.Conn, to.Login, to.Database)
	if err == nil {
		err = c.prove()
	}
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", server.DialTimeout)
		}
		return nil, server.Readable(err)
	}
	return c, nil
}

// prove asks for a session and a marker that nobody has.
func (c *connection) prove() error {
	defer c.useful.Store(false)
	keys := []string{c.store.keys.Session("extauthz")}
	if c.target.Mode != redisurl.Cluster { // where another node may have it
		keys = append(keys, c.store.keys.Markers("extauthz")...)
	}
	_, err := c.Ask(keys)
	if lost, is := errors.AsType[*session.LostError](err); is {
		return lost.Unwrap()
	}
	return err
}

// Ask implements [session.Link]. The role is asked behind the keys, in the same round trip: a server that is a master
// then was one when it answered, and one that was demoted on an open connection says so.
func (c *connection) Ask(keys []string) (map[string]answer, error) {
	for _, key := range keys {
		if rest, is := strings.CutPrefix(key, asking); is {
			c.Send("ASKING")
			key = rest
		}
		c.Send("GET", key)
	}
	c.Send("ROLE")
	if err := c.Flush(); err != nil {
		return nil, c.lost(err)
	}
	found := make(map[string]answer, len(keys))
	var refused error
	for _, key := range keys {
		if strings.HasPrefix(key, asking) {
			if _, err := c.Receive(secondary.MaxValue); err != nil {
				return nil, c.lost(err)
			}
		}
		v, err := c.Receive(secondary.MaxValue)
		if err != nil {
			return nil, c.lost(err)
		}
		one, isKnown, err := answerOf(v)
		if err != nil {
			refused = err
		}
		if isKnown {
			found[key] = one
		}
	}
	role, err := c.Receive(secondary.MaxValue)
	switch {
	case err != nil:
		return nil, c.lost(err)
	case refused != nil:
		return nil, c.lost(refused)
	case role.Err() != nil:
		return nil, c.lost(role.Err())
	case role.Kind != resp.Array || len(role.Array) == 0 || role.Array[0].Text != "master":
		return nil, c.lost(errReplica)
	}
	c.useful.Store(true)
	return found, nil
}

// answerOf is what a reply to GET says; isKnown is false for a key that is not there. An error is not the key's.
func answerOf(v resp.Value) (a answer, isKnown bool, err error) {
	switch v.Kind {
	case resp.Nil:
		return answer{}, false, nil
	case resp.Text:
		return answer{text: v.Text}, true, nil
	case resp.TooLong:
		return answer{fault: errLong}, true, nil
	case resp.Failure:
	default:
		return answer{}, false, errors.New("an answer to GET that is no string")
	}
	reply := resp.Error(v.Text)
	switch reply.Code() {
	case "WRONGTYPE":
		return answer{fault: errType}, true, nil
	case "MOVED", "ASK":
		words := strings.Fields(string(reply))
		if len(words) != 3 {
			return answer{}, false, reply
		}
		return answer{elsewhere: words[2], forOnce: words[0] == "ASK"}, true, nil
	case "CLUSTERDOWN", "TRYAGAIN":
		return answer{outage: reply}, true, nil
	}
	return answer{}, false, reply
}

// lost says that the connection is of no more use.
func (c *connection) lost(err error) error {
	if timeout, is := errors.AsType[net.Error](err); is && timeout.Timeout() {
		err = fmt.Errorf("no answer within %s", c.store.budget)
	}
	return session.Lost(server.Readable(err))
}

// Interrupt implements [session.Link].
func (c *connection) Interrupt() { c.SetDeadline(time.Unix(1, 0)) }

// Close implements [pool.Connection].
func (c *connection) Close() { c.Conn.Close() }

// Target implements [pool.Connection].
func (c *connection) Target() *target { return c.target }

// Host implements [pool.Connection].
func (c *connection) Host() string { return c.host }

// Address implements [pool.Connection].
func (c *connection) Address() netip.Addr { return c.address }

// IsUseful implements [pool.Connection].
func (c *connection) IsUseful() bool { return c.useful.Load() }
