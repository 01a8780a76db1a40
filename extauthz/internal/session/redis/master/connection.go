// Package master is one connection to a master of Redis, good for keys: each answer is a master's, to a question that it
// received after the call. It imports session, redisurl, resp, secondary and server. It does not know how connections are
// kept, nor what a key stands for.
package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
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
	// Asking is in front of a key that is asked of the node that a slot moves to, with ASKING before it.
	Asking = "\x00asking\x00"
	// provingKeys is how many markers a new connection is asked for.
	provingKeys = 16
)

// Target is where and as whom to connect.
type Target struct {
	*redisurl.Options
	At []string // host:port each, or a Unix socket's path, tried in this order
}

// IsSame implements [pool.Target].
func (t *Target) IsSame(other *Target) bool {
	return t.Options.IsSame(other.Options) && slices.Equal(t.At, other.At)
}

// Answer is what is kept under a key.
type Answer struct {
	Text string
	// Fault is why it cannot be used: another type, or too long. It is the key's own.
	Fault error
	// Elsewhere is the node of a Cluster to ask instead, ForOnce for this time alone.
	Elsewhere string
	ForOnce   bool
	// Outage is why nobody can say what is kept under this key alone.
	Outage error
}

var (
	errReplica = errors.New("it is a replica, which does not see yet who has just signed out; " +
		"name the master, or its Sentinels")
	// ErrOneOfMany says that other nodes have a part of the keys.
	ErrOneOfMany = errors.New("it is a node of a Cluster; write redis-cluster://")
	errType      = errors.New("another type than a string is kept under its key")
	errLong      = fmt.Errorf("it is longer than %d bytes", secondary.MaxValue)
)

// Connection is one connection to a master. It is used by one goroutine at a time, but for Interrupt.
type Connection struct {
	*resp.Conn
	opener  *Opener
	target  *Target
	host    string // the name that led to address; empty for an address that was given as such, or a Unix socket
	address netip.Addr
	useful  atomic.Bool // it has answered a check
}

// Opener makes connections.
type Opener struct {
	Keys   secondary.Keys
	Budget time.Duration // of one round trip, for messages
}

// Open makes a connection to the first of the target's addresses that is a master's, and proves that it answers.
func (s *Opener) Open(ctx context.Context, to *Target) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var faults []string
	for _, address := range to.At {
		c, err := s.openAt(ctx, to, address)
		if err == nil {
			return c, nil
		}
		text := err.Error()
		if len(to.At) > 1 {
			text = address + ": " + text
		}
		faults = append(faults, text)
	}
	return nil, errors.New(strings.Join(faults, "; "))
}

func (s *Opener) openAt(ctx context.Context, to *Target, address string) (*Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, server.DialTimeout)
	defer cancel()
	network, err := server.Dial(ctx, to.Options, address)
	if err != nil {
		return nil, err
	}
	c := &Connection{Conn: resp.New(network), opener: s, target: to}
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

// prove asks for sessions and markers that nobody has. They are so many that a node of a Cluster which is asked as one
// server has not all of their slots.
func (c *Connection) prove() error {
	defer c.useful.Store(false)
	isAlone := c.target.Mode != redisurl.Cluster // otherwise another node may have a key
	keys := []string{c.opener.Keys.Session("extauthz")}
	for i := 0; isAlone && i < provingKeys; i++ {
		keys = append(keys, c.opener.Keys.Markers("extauthz"+strconv.Itoa(i))...)
	}
	found, err := c.Ask(keys)
	if lost, is := errors.AsType[*session.LostError](err); is {
		return lost.Unwrap()
	}
	for _, one := range found {
		if isAlone && (one.Elsewhere != "" || one.Outage != nil) {
			return ErrOneOfMany
		}
	}
	return err
}

// Ask implements [session.Link]. The role is asked behind the keys, in the same round trip: a server that is a master
// then was one when it answered, and one that was demoted on an open connection says so.
func (c *Connection) Ask(keys []string) (map[string]Answer, error) {
	for _, key := range keys {
		if rest, is := strings.CutPrefix(key, Asking); is {
			c.Send("ASKING")
			key = rest
		}
		c.Send("GET", key)
	}
	c.Send("ROLE")
	if err := c.Flush(); err != nil {
		return nil, c.lost(err)
	}
	found := make(map[string]Answer, len(keys))
	var refused error
	for _, key := range keys {
		if strings.HasPrefix(key, Asking) {
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
func answerOf(v resp.Value) (a Answer, isKnown bool, err error) {
	switch v.Kind {
	case resp.Nil:
		return Answer{}, false, nil
	case resp.Text:
		return Answer{Text: v.Text}, true, nil
	case resp.TooLong:
		return Answer{Fault: errLong}, true, nil
	case resp.Failure:
	default:
		return Answer{}, false, errors.New("an answer to GET that is no string")
	}
	reply := resp.Error(v.Text)
	switch reply.Code() {
	case "WRONGTYPE":
		return Answer{Fault: errType}, true, nil
	case "MOVED", "ASK":
		words := strings.Fields(string(reply))
		if len(words) != 3 {
			return Answer{}, false, reply
		}
		at := words[2]
		if colon := strings.LastIndexByte(at, ':'); colon > 0 { // an IPv6 address has no brackets there
			at = net.JoinHostPort(strings.Trim(at[:colon], "[]"), at[colon+1:])
		}
		return Answer{Elsewhere: at, ForOnce: words[0] == "ASK"}, true, nil
	case "CLUSTERDOWN", "TRYAGAIN":
		if strings.Contains(v.Text, "cluster is down") { // whole, not this key's slot alone
			return Answer{}, false, reply
		}
		return Answer{Outage: reply}, true, nil
	}
	return Answer{}, false, reply
}

// lost says that the connection is of no more use.
func (c *Connection) lost(err error) error {
	if timeout, is := errors.AsType[net.Error](err); is && timeout.Timeout() {
		err = fmt.Errorf("no answer within %s", c.opener.Budget)
	}
	return session.Lost(server.Readable(err))
}

// Interrupt implements [session.Link].
func (c *Connection) Interrupt() { c.SetDeadline(time.Unix(1, 0)) }

// Close implements [pool.Connection].
func (c *Connection) Close() { c.Conn.Close() }

// Target implements [pool.Connection].
func (c *Connection) Target() *Target { return c.target }

// Host implements [pool.Connection].
func (c *Connection) Host() string { return c.host }

// Address implements [pool.Connection].
func (c *Connection) Address() netip.Addr { return c.address }

// IsUseful implements [pool.Connection].
func (c *Connection) IsUseful() bool { return c.useful.Load() }
