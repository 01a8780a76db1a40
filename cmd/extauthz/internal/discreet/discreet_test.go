package discreet

import (
	"testing"
)

func TestDiscreetURL(t *testing.T) {
	for value, want := range map[string]string{
		"https://host/jwks":                    "https://host/jwks",
		"https://host/jwks?apikey=s3cret":      "https://host/jwks",
		"https://host/jwks#s3cret":             "https://host/jwks",
		"https://host/jwks?":                   "https://host/jwks",
		"https://host?s3cret/path":             "https://host",
		"https://host:8443/a%20b?s3cret":       "https://host:8443/a%20b",
		"http://user:s3cret@proxy:3128":        "http://(hidden)@proxy:3128",
		"http://s3cret@proxy:3128/path?s3cret": "http://(hidden)@proxy:3128/path",
		"postgresql://u:s3cret@db:5432/app":    "postgresql://(hidden)@db:5432/app",
		"postgresql://u:s3cret/x@db/app":       "postgresql://(hidden)",
		"postgresql://u:s3cret?x@db/app":       "postgresql://(hidden)",
		"postgresql://u:s3cret#x@db/app":       "postgresql://(hidden)",
		"postgresql://u:s3cret@x@db/app":       "postgresql://(hidden)",
		"postgresql://u:12/s3cret@db/app":      "postgresql://(hidden)",
		"postgresql://u:12?s3cret@db/app":      "postgresql://(hidden)",
		"postgresql://u:s3cret":                "postgresql://(hidden)",
		"postgresql://u:s3 cret@db/app":        "postgresql://(hidden)",
		"postgresql://u:%zzs3cret@db/app":      "postgresql://(hidden)",
		"https://a/?u=https://b/s3cret":        "https://(hidden)",
		"host/jwks?apikey=s3cret":              "host/jwks",
		"mysql://":                             "mysql://",
	} {
		if got := URL(value); got != want {
			t.Errorf("%q is shown as %q, want %q", value, got, want)
		}
	}
}

func TestDiscreetMessages(t *testing.T) {
	const random = "kq3V9dYw2mZ8xT5bN7cR4hJ6sL1pF0aG"
	for message, want := range map[string]string{
		`EXTAUTHZ_LISTEN is "9191"; write host:port`:                            `EXTAUTHZ_LISTEN is "9191"; write host:port`,
		`X is "unix:///tmp/x.sock?mode=0660"`:                                   `X is "unix:///tmp/x.sock?mode=0660"`,
		`X is "unix://@a?mode=1"`:                                               `X is "unix://@a?mode=1"`,
		`X is "postgresql://u:s3cret@db/app"; write host:port`:                  `X is "postgresql://(hidden)@db/app"; write host:port`,
		`X is "postgresql://u:s3 cret@db/app"`:                                  `X is "postgresql://(hidden)"`,
		`X is "host=db password=s3cret dbname=app"`:                             `X is "host=db password=(hidden) dbname=app"`,
		`X is "host=db password='s3 cret' dbname=app"`:                          `X is "host=db password=(hidden) dbname=app"`,
		`X is "` + random + `"`:                                                 `X is "(hidden)"`,
		`X is "prefix:` + random + `"`:                                          `X is "(hidden)"`,
		`X is "9f86d081884c7d659a2feaa0c55ad015"`:                               `X is "(hidden)"`,
		`X is "-----BEGIN PRIVATE KEY-----\nMIIE"`:                              `X is "(hidden)"`,
		`X is "https://one.example.com?s3cret,https://two.example.com"`:         `X is "https://one.example.com,https://two.example.com"`,
		`X is "spiffe://cluster.local/ns/istio-system/sa/*"; write whole names`: `X is "spiffe://cluster.local/ns/istio-system/sa/*"; write whole names`,
		`write postgresql://user:password@host:5432/database`:                   `write postgresql://user:password@host:5432/database`,
		`X lists "x-user-organization-role", which says`:                        `X lists "x-user-organization-role", which says`,
		`X is "postgresql://u:s3,cret@db/app"`:                                  `X is "(hidden)"`,
		`X is "postgresql://u:12,s3cret@db/app"`:                                `X is "(hidden)"`,
		`X is "postgresql://u:12"; write host:port`:                             `X is "(hidden)"; write host:port`,
		`X is "127.0.0.1:9191, redis://u:12"`:                                   `X is "(hidden)"`,
		`X has "s3cret@db/app", which holds "@"`:                                `X has "(hidden)@db/app", which holds "@"`,
		`X is "https://*.example.com , https://app.example.net ,my-app"`:        `X is "https://*.example.com , https://app.example.net ,my-app"`,
		`X is "127.0.0.1:9191, unix://@a"`:                                      `X is "127.0.0.1:9191, unix://@a"`,
		`no end "of a quote`:                                                    `no end "of a quote`,
	} {
		if got := Message(message); got != want {
			t.Errorf("%s\nis told as %s\nwant        %s", message, got, want)
		}
	}
}
