// Package target is where, as whom and how to connect to PostgreSQL. It imports connstring and network, and connects to
// nothing.
package target

import (
	"context"
	"crypto/tls"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"extauthz/extauthz/internal/session/postgres/connstring"
	"extauthz/extauthz/internal/session/postgres/network"
)

// Target is where, as whom and how to connect.
type Target struct {
	Config *pgx.ConnConfig
	Schema string // where to look for the tables; empty for the search_path
}

// Read reads a connection string.
func Read(dsn string) (*Target, error) {
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
	return t.Schema == other.Schema && a.Host == b.Host && a.Port == b.Port && a.Database == b.Database &&
		a.User == b.User &&
		a.SSLNegotiation == b.SSLNegotiation && a.SSLCertMode == b.SSLCertMode && a.ChannelBinding == b.ChannelBinding &&
		a.RequireAuth == b.RequireAuth &&
		// one function for each target_session_attrs
		reflect.ValueOf(a.ValidateConnect).Pointer() == reflect.ValueOf(b.ValidateConnect).Pointer() &&
		maps.Equal(a.RuntimeParams, b.RuntimeParams) && isSameTLS(a.TLSConfig, b.TLSConfig) &&
		slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(x, y *pgconn.FallbackConfig) bool {
			return x.Host == y.Host && x.Port == y.Port && isSameTLS(x.TLSConfig, y.TLSConfig)
		})
}

func isSameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && a.InsecureSkipVerify == b.InsecureSkipVerify &&
		(a.VerifyPeerCertificate == nil) == (b.VerifyPeerCertificate == nil) &&
		(a.VerifyConnection == nil) == (b.VerifyConnection == nil) && a.MinVersion == b.MinVersion &&
		a.MaxVersion == b.MaxVersion && a.RootCAs.Equal(b.RootCAs) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool {
			return slices.EqualFunc(x.Certificate, y.Certificate, slices.Equal[[]byte])
		})
}

// Resolve returns the addresses that a host has now. There is nothing to Resolve in an address or a Unix socket's
// folder.
func (t *Target) Resolve(ctx context.Context, host string) (map[netip.Addr]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, network.NameTimeout)
	defer cancel()
	found, err := t.Config.LookupFunc(ctx, host)
	if err != nil {
		return nil, err
	}
	addresses := make(map[netip.Addr]bool)
	for _, text := range found {
		if address, is := network.ReadAddress(text); is {
			addresses[address] = true
		}
	}
	return addresses, nil
}
