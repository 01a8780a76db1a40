package probe

import (
	"slices"
	"testing"

	"extauthz/cmd/extauthz/internal/settings"
)

// A wildcard is asked on this machine, and nothing else of an address is changed.
func TestAdminTargets(t *testing.T) {
	for address, want := range map[string][]string{
		"":                     {"127.0.0.1:9192"},
		":9192":                {"127.0.0.1:9192", "[::1]:9192"},
		"0.0.0.0:9":            {"127.0.0.1:9"},
		"[::]:9":               {"[::1]:9", "127.0.0.1:9"},
		"[0:0:0:0:0:0:0:0]:9":  {"[::1]:9", "127.0.0.1:9"},
		"[::ffff:0.0.0.0]:9":   {"127.0.0.1:9"},
		"10.0.0.7:9":           {"10.0.0.7:9"},
		"[::1]:9":              {"[::1]:9"},
		"[fe80::1%eth0]:9":     {"[fe80::1%eth0]:9"},
		"admin.example.com:80": {"admin.example.com:80"},
	} {
		got, err := Targets(map[string]string{}, func(name string) string { return map[string]string{settings.AdminSetting: address}[name] })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", address, got, err, want)
		}
	}
}
