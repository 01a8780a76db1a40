package network_test

import (
	"net/netip"
	"testing"

	"extauthz/extauthz/internal/session/postgres/network"
)

// FuzzReadAddress: an address is read from what a look-up may give, in one form whichever it was.
func FuzzReadAddress(f *testing.F) {
	for _, text := range []string{"", "192.0.2.7", "192.0.2.7:5432", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:5432", "fe80::1%eth0", "::1", "db"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, is := network.ReadAddress(text)
		if !is {
			return
		}
		if !address.IsValid() || address.Is4In6() || address.Zone() != "" {
			t.Errorf("%q is %v", text, address)
		}
		if again, is := network.ReadAddress(netip.AddrPortFrom(address, 5432).String()); !is || again != address {
			t.Errorf("%q is %v, and with a port %v", text, address, again)
		}
	})
}
