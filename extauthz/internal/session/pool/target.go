package pool

import (
	"net/netip"
	"slices"
	"time"
)

// Target is where connections lead to.
type Target[T any] interface {
	// IsSame tells whether a connection to the other leads there too.
	IsSame(other T) bool
}

// Retarget has connections be made to another target. Those to the earlier one take no further batch, unless the
// password alone has changed. changed tells that.
func (k *Keeper[T, C, A]) Retarget(to T) (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = !to.IsSame(k.target)
	k.target = to
	if changed {
		for h := range k.held {
			k.retire(h)
		}
		k.pause, k.nextAt, k.lostAt = 0, time.Time{}, time.Now()
	}
	k.kick()
	return changed
}

// Renew has all connections be replaced.
func (k *Keeper[T, C, A]) Renew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewal++
	k.moreAt, k.more = time.Time{}, 0
	k.kick()
}

// Hosts are the names that connections lead to.
func (k *Keeper[T, C, A]) Hosts() (hosts []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		if h.connection.Host() != "" && !slices.Contains(hosts, h.connection.Host()) {
			hosts = append(hosts, h.connection.Host())
		}
	}
	return hosts
}

// Moved has the connections to a host be replaced whose address is none of these.
func (k *Keeper[T, C, A]) Moved(host string, addresses map[netip.Addr]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for h := range k.held {
		switch {
		case h.connection.Host() != host:
		case addresses[h.connection.Address()]:
			h.gone = time.Time{}
		case h.gone.IsZero():
			h.gone = time.Now()
			k.moreAt, k.more = time.Time{}, 0
		}
	}
	k.kick()
}

// Current is where connections lead to.
func (k *Keeper[T, C, A]) Current() T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.target
}
