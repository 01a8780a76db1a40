package postgres

import (
	"context"
	"fmt"
	"time"

	"extauthz/extauthz/internal/session/postgres/target"
)

// Refresh replaces all connections, by the connection string and the addresses as they are now. It does not wait.
func (d *Store) Refresh() {
	select {
	case d.renewed <- struct{}{}:
	default:
	}
}

// follow has connections lead to where the connection string and its names say now.
func (d *Store) follow(ctx context.Context) {
	ticker := time.NewTicker(min(d.targetEvery, d.NamesEvery))
	defer ticker.Stop()
	resolved := time.Now()
	for {
		renewing := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.renewed:
			renewing = true
		}
		isNew := d.readAnew() // it may pin other addresses to its names
		if renewing {
			d.Keeper.Renew()
		}
		if isNew || renewing || time.Since(resolved) >= d.NamesEvery {
			resolved = time.Now()
			d.resolveAnew(ctx)
		}
	}
}

// readAnew reads the connection string. One that cannot be read or used is told once, and the earlier one stays in
// force. isNew tells that the text is another than the one before.
func (d *Store) readAnew() (isNew bool) {
	if d.read == nil {
		return false
	}
	d.reading.Lock()
	defer d.reading.Unlock()
	dsn, err := d.read()
	if err != nil {
		err = fmt.Errorf("cannot be read: %w", err)
	}
	var to *target.Target
	if err == nil {
		to, err = target.Read(dsn)
	}
	if err != nil {
		if d.source.IsNew(err.Error()) {
			d.log.Warn("the database's connection string cannot be used; the earlier one stays in force", "error", err)
		}
		return false
	}
	isNew = dsn != d.lastRead
	d.lastRead = dsn
	d.source.IsNew("")
	if d.Keeper.Retarget(to) {
		d.log.Info("the database's connection string has changed; reconnecting")
	}
	return isNew
}

// resolveAnew has connections be replaced whose address is no longer one of their name's. A name that cannot be
// resolved now has not moved.
func (d *Store) resolveAnew(ctx context.Context) {
	to := d.Keeper.Current()
	for _, host := range d.Keeper.Hosts() {
		if addresses, err := to.Resolve(ctx, host); err == nil && len(addresses) > 0 {
			d.Keeper.Moved(host, addresses)
		}
	}
}

// openAnew makes a connection by the connection string as it is now.
func (d *Store) openAnew(ctx context.Context, to *target.Target) (*Connection, error) {
	if d.read != nil {
		d.readAnew() // a password that has changed is used at once
		to = d.Keeper.Current()
	}
	return d.Open(ctx, to)
}

// connect makes a connection of its own, which the caller closes, to a server that checks would ask too.
func (d *Store) connect(ctx context.Context) (*Connection, error) {
	d.readAnew()
	return d.dial(ctx, d.Keeper.Current())
}
