// Package server is one server of Redis before it is asked for a session: how it is reached, as whom, and what it says
// of where others are. It imports redisurl and resp. It does not know sessions, nor that connections are kept.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/resp"
)

// DialTimeout bounds how long it takes until a server has answered that was dialled anew.
const DialTimeout = 5 * time.Second

// Dial makes the network's connection.
func Dial(ctx context.Context, o *redisurl.Options, address string) (net.Conn, error) {
	var dialer net.Dialer
	if o.IsUnix {
		return dialer.DialContext(ctx, "unix", address)
	}
	if o.TLS == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	host, _, _ := net.SplitHostPort(address)
	return (&tls.Dialer{Config: o.TLS.Config(host)}).DialContext(ctx, "tcp", address)
}

// LogIn says who asks. The name is for CLIENT LIST, and no matter where it cannot be given.
func LogIn(c *resp.Conn, as redisurl.Login, database int) error {
	if as.Password != "" {
		words := []string{"AUTH", as.User, as.Password}
		if as.User == "" {
			words = []string{"AUTH", as.Password}
		}
		_, err := c.Do(words...)
		if err != nil && strings.Contains(err.Error(), as.Password) {
			err = errors.New("AUTH is refused, by words that hold the password, which are not shown")
		}
		if err != nil {
			return err
		}
	}
	if database != 0 {
		if _, err := c.Do("SELECT", strconv.Itoa(database)); err != nil {
			return err
		}
	}
	_, err := c.Do("CLIENT", "SETNAME", "extauthz")
	if _, isReply := errors.AsType[resp.Error](err); isReply {
		return nil
	}
	return err
}

// Readable says in words what an end of the stream, or an error reply that an operator can do something about, means.
func Readable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server has closed the connection")
	}
	reply, is := errors.AsType[resp.Error](err)
	if !is {
		return err
	}
	advice := map[string]string{
		"NOAUTH":    "write user:password@ into the URL",
		"WRONGPASS": "see that the URL's user and password are right",
		"NOPERM":    "let the user have +get +role on the prefix's keys, as in docs/better-auth.md",
		"LOADING":   "it reads its data, and answers when it has",
		"MOVED":     "it is a node of a Cluster; write redis-cluster://",
	}[reply.Code()]
	if advice == "" {
		return reply
	}
	return fmt.Errorf("%w; %s", reply, advice)
}

// LookUp is where a name leads to now; empty where that cannot be told.
func LookUp(ctx context.Context, host string) map[netip.Addr]bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	found := make(map[netip.Addr]bool, len(list))
	for _, address := range list {
		found[address.Unmap()] = true
	}
	return found
}
