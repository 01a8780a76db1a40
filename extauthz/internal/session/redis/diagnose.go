package redis

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/session/redis/master"
	"extauthz/extauthz/internal/session/redis/redisurl"
	"extauthz/extauthz/internal/session/redis/server"
)

// Diagnose asks Redis as a check would, and what a check does not need to know.
func (s *Store) Diagnose(ctx context.Context) []finding.Finding {
	f := &finding.List{Part: "redis"}
	ctx, cancel := context.WithTimeout(ctx, 3*server.DialTimeout)
	defer cancel()
	s.readAnew()
	o := s.options.Load()
	if len(o.Unknown) > 0 {
		f.Warn("parameters", strings.Join(o.Unknown, ", ")+": unknown, and left out",
			"Correct their spelling in Config.RedisURL, or remove them.")
	}
	targets, err := s.masters(ctx, o)
	if err != nil {
		f.Fail("connect", err.Error(),
			"See that this machine reaches the hosts of Config.RedisURL, and that they are what its scheme says.")
		return f.Found
	}
	for i, to := range targets {
		started := time.Now()
		c, err := s.opener.Open(ctx, to)
		if err != nil {
			f.Fail("connect", err.Error(),
				"See that this machine reaches the host, and that user, password and database of Config.RedisURL are right.")
			continue
		}
		f.OK("connect", fmt.Sprintf("a master at %s answers in %s", c.RemoteAddr(), time.Since(started).Round(time.Millisecond)))
		if i == 0 {
			s.examine(f, o, c)
		}
		c.Close()
	}
	return f.Found
}

// masters are where checks would go.
func (s *Store) masters(ctx context.Context, o *redisurl.Options) (targets []*master.Target, err error) {
	switch o.Mode {
	case redisurl.Sentinel:
		address, err := server.FindMaster(ctx, o)
		return []*master.Target{{Options: o, At: []string{address}}}, err
	case redisurl.Cluster:
		seen := map[string]bool{}
		for _, address := range o.Hosts {
			ranges, failed := server.AskSlots(ctx, o, address)
			if failed != nil {
				err = failed
				continue
			}
			for _, r := range ranges {
				if !seen[r.Master] {
					seen[r.Master] = true
					targets = append(targets, &master.Target{Options: o, At: []string{r.Master}})
				}
			}
			return targets, nil
		}
		return nil, err
	}
	return []*master.Target{{Options: o, At: o.Hosts}}, nil
}

// examine looks at one server.
func (s *Store) examine(f *finding.List, o *redisurl.Options, c *master.Connection) {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err == nil && o.TLS == nil && !peer.Addr().Unmap().IsLoopback() {
		f.Warn("encryption", "none", "Write rediss:// in Config.RedisURL: session tokens travel in these questions.")
	}
	if o.TLS != nil && o.TLS.Unproven {
		f.Warn("encryption", "with any certificate",
			"Leave ssl_cert_reqs out of Config.RedisURL, and name the authority by ssl_ca_certs.")
	}
	if o.Login.Password == "" && !o.IsUnix {
		f.Warn("password", "none: whoever reaches Redis reads and writes sessions",
			"Set requirepass or an ACL there, and write user:password@ into Config.RedisURL.")
	}
	s.examineMemory(f, c)
	s.examineWrites(f, c)
}

// examineMemory tells whether sessions, or markers of those that were ended, may be evicted.
func (s *Store) examineMemory(f *finding.List, c *master.Connection) {
	said, err := c.Do("INFO", "memory")
	if err != nil {
		f.OK("eviction", "not known: the user may not ask for INFO, which checks do not need")
		return
	}
	policy, most := fieldOf(said.Text, "maxmemory_policy"), fieldOf(said.Text, "maxmemory")
	switch {
	case policy == "noeviction" || most == "0":
		f.OK("eviction", "none ("+policy+", maxmemory "+most+")")
	default:
		f.Warn("eviction", policy+", so that Redis drops keys when its memory is full: users are signed out, "+
			"and a marker of revoked sessions that is dropped before its sessions lets them live again",
			"Set maxmemory-policy noeviction, and watch the memory; or keep sessions in a Redis of their own.")
	}
}

// examineWrites tells whether this user could change sessions, which checks never do.
func (s *Store) examineWrites(f *finding.List, c *master.Connection) {
	who, err := c.Do("ACL", "WHOAMI")
	if err != nil {
		f.OK("rights", "the user may not ask about itself, as is right")
		return
	}
	allowed, err := c.Do("ACL", "DRYRUN", who.Text, "SET", s.opener.Keys.Session("extauthz"), "x")
	if err == nil && allowed.Text == "OK" {
		f.Warn("rights", "the user "+strconv.Quote(who.Text)+" may write sessions",
			"Give this server a user of its own: ACL SETUSER extauthz on >PASSWORD resetkeys "+
				"%R~"+s.opener.Keys.Prefix+"* -@all +get +role +client|setname.")
		return
	}
	f.OK("rights", "reading only, as far as it can be asked")
}

// fieldOf is a field of an answer to INFO.
func fieldOf(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, is := strings.Cut(strings.TrimSpace(line), ":"); is && key == name {
			return value
		}
	}
	return ""
}
