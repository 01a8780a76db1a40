package connstring

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"extauthz/extauthz/internal/session/postgres/connstring/parameter"
	"extauthz/extauthz/internal/session/postgres/connstring/syntax"
)

// sort gives each parameter its place. The last of a name counts, as in libpq.
func (c *text) sort(pairs []syntax.Pair) error {
	given := map[string]string{}
	for _, p := range pairs {
		name := p.Name
		if other, has := parameter.OtherNames[name]; has {
			name = other
		}
		if strings.ContainsRune(p.Value, 0) {
			return syntax.ErrNotConnectionString
		}
		given[name] = p.Value
	}
	for variable, name := range parameter.Environment {
		if _, isGiven := given[name]; !isGiven && os.Getenv(variable) != "" &&
			(name != "requiressl" || given["sslmode"] == "") {
			given[name] = os.Getenv(variable)
		}
	}
	for name, value := range given {
		if value == "" && syntax.IsTarget(name) {
			delete(given, name) // the default
		}
	}
	if err := sortTLS(given); err != nil {
		return err
	}
	for name, value := range given {
		if err := c.put(name, value); err != nil {
			return err
		}
	}
	if name := c.values["fallback_application_name"]; name != "" {
		if c.values["application_name"] == "" && os.Getenv("PGAPPNAME") == "" {
			c.values["application_name"] = name
		}
		delete(c.values, "fallback_application_name")
	}
	slices.Sort(c.leftOut)
	return nil
}

// put gives one parameter its place: for pgx, for the server, or nowhere.
func (c *text) put(name, value string) error {
	cannot := func(what string) error {
		return fmt.Errorf("has %s, and %s cannot be done here; leave it out if you can do without", name, what)
	}
	switch parameter.ClassOf(name) {
	case parameter.ClassPGX:
		if allowed, has := allowedValues[name]; has && !slices.Contains(allowed, value) {
			return fmt.Errorf("has an unknown %s; write %s", name, alternatives(allowed))
		}
		c.values[name] = value
	case parameter.ClassRuntime:
		if option := parameter.OptionName.FindStringSubmatch(name); option != nil {
			name = option[1]
		}
		c.runtime[name] = value
	case parameter.ClassUnknown:
		return c.leaveOut(name)
	}
	switch name {
	case "schema":
		c.schema = value
	case "fallback_application_name":
		c.values[name] = value
	case "hostaddr":
		if value != "" {
			c.hostaddr = strings.Split(value, ",")
		}
	case "connect_timeout":
		// What is no number changes nothing: there is a bound anyway.
		seconds, _ := strconv.Atoi(strings.TrimSpace(value))
		c.timeout = time.Duration(min(max(seconds, 0), 1000)) * time.Second
	case "targetServerType": // JDBC
		attributes, known := map[string]string{
			"any": "any", "primary": "primary", "master": "primary", "secondary": "standby", "slave": "standby",
			"preferSecondary": "prefer-standby", "preferSlave": "prefer-standby",
		}[value]
		if !known {
			return errors.New("has an unknown targetServerType; write any, primary, secondary or preferSecondary")
		}
		c.values["target_session_attrs"] = attributes
	case "ssl_min_protocol_version", "ssl_max_protocol_version":
		return c.limitTLS(name, value)
	case "gssencmode":
		if value == "require" {
			return cannot("encryption by GSSAPI")
		}
	case "requirepeer":
		if value != "" {
			return cannot("checking which system user runs the server")
		}
	case "sslcrl", "sslcrldir":
		if value != "" {
			return cannot("looking into a list of revoked certificates")
		}
	case "sslinline", "sslidentity":
		return fmt.Errorf("has %s, which cannot be read here; "+
			"give the certificate as the PEM files sslcert, sslkey and sslrootcert", name)
	case "scram_client_key", "scram_server_key":
		return cannot("a SCRAM key in place of a password")
	case "socketFactory", "cloudSqlInstance": // without it the way would lead elsewhere
		return cannot("connecting through a JDBC socket factory")
	case "oauth_client_secret":
		return cannot("OAuth to the database")
	}
	return nil
}

// leaveOut records a parameter that nobody knows.
func (c *text) leaveOut(name string) error {
	if !parameter.PlainParameter.MatchString(name) {
		return syntax.ErrQuery // and not shown: it may be the rest of a password
	}
	if parameter.AboutSecurity.MatchString(name) {
		return fmt.Errorf("has the parameter %q, which is none of PostgreSQL's drivers and sounds as if it secured "+
			"something; libpq's are sslmode, sslrootcert, sslcert, sslkey, channel_binding, require_auth", name)
	}
	if !slices.Contains(c.leftOut, name) {
		c.leftOut = append(c.leftOut, name)
	}
	return nil
}

// allowedValues are those of parameters with few. pgx would quote another one in its error.
var allowedValues = map[string][]string{
	"channel_binding":      {"disable", "prefer", "require"},
	"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
	"sslnegotiation":       {"postgres", "direct"},
	"sslcertmode":          {"disable", "allow", "require"},
	"sslsni":               {"0", "1"},
}

func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// limitTLS reads libpq's bounds of the TLS version. Go does not speak less than TLS 1.2 to a server unless told to.
func (c *text) limitTLS(name, value string) error {
	version, known := map[string]uint16{
		"": 0, "TLSv1": tls.VersionTLS12, "TLSv1.1": tls.VersionTLS12,
		"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13,
	}[value]
	switch {
	case !known:
		return fmt.Errorf("has an unknown %s; write TLSv1.2 or TLSv1.3", name)
	case name == "ssl_min_protocol_version":
		c.oldest = version
	case value == "TLSv1" || value == "TLSv1.1":
		return fmt.Errorf("has %s, and TLS before 1.2 is not spoken here; write TLSv1.2 or TLSv1.3", name)
	default:
		c.newest = version
	}
	return nil
}

// sortTLS makes libpq's sslmode of all that drivers say about TLS; where two say different things, the safer one counts
// or it is an error, never the weaker one.
func sortTLS(given map[string]string) error {
	mode, hasMode := given["sslmode"]
	hasMode = hasMode && mode != ""
	if hasMode {
		known := false
		if mode, known = parameter.SSLModes[mode]; !known {
			return errors.New("has an unknown sslmode; write disable, allow, prefer, require, verify-ca or verify-full")
		}
	}
	if ssl, hasSSL := given["ssl"]; hasSSL {
		other, known := parameter.SSLModes[ssl]
		switch {
		case !known:
			return errors.New("has an unknown ssl; write sslmode=disable, allow, prefer, require, verify-ca or verify-full")
		case !hasMode:
			mode, hasMode = other, true
		case (mode == "disable") != (other == "disable"):
			return errors.New("says both ssl and sslmode, and not the same; keep one of them")
		case strictness(other) > strictness(mode):
			mode = other
		}
	}
	if given["requiressl"] == "1" && strictness(mode) < strictness("require") {
		if mode == "disable" {
			return errors.New("says both requiressl and sslmode, and not the same; keep one of them")
		}
		mode, hasMode = "require", true
	}
	switch accept := given["sslaccept"]; accept { // Prisma's
	case "", "accept_invalid_certs":
	case "strict":
		if mode == "disable" {
			return errors.New("says both sslaccept=strict and no TLS; keep one of them")
		}
		if given["sslkey"] == "" && given["sslcert"] != "" { // which is the authority's certificate there
			if given["sslrootcert"] == "" {
				given["sslrootcert"] = given["sslcert"]
			}
			delete(given, "sslcert")
		}
		mode, hasMode = "verify-full", true
	default:
		return errors.New("has an unknown sslaccept; write strict or accept_invalid_certs")
	}
	if !hasMode && os.Getenv("PGSSLMODE") == "" {
		// node-postgres verifies by an authority that is named, and uses TLS where it is to begin at once.
		if given["sslrootcert"] != "" || given["sslnegotiation"] == "direct" {
			mode, hasMode = "verify-full", true
		}
	}
	if given["sslnegotiation"] == "direct" && hasMode && strictness(mode) < strictness("require") {
		return errors.New("has sslnegotiation=direct, which wants sslmode=require, verify-ca or verify-full")
	}
	if given["sslrootcert"] == "system" && hasMode && mode != "verify-full" {
		return errors.New("has sslrootcert=system, which wants sslmode=verify-full")
	}
	delete(given, "sslmode")
	if hasMode {
		given["sslmode"] = mode
	}
	return nil
}

func strictness(mode string) int {
	return slices.Index([]string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, mode)
}

// WithAdvice adds to a refused connection's error what to do about a parameter that the server, or a pooler in front of
// it, does not take.
func WithAdvice(text string) string {
	switch {
	case strings.Contains(text, "unsupported startup parameter"): // PgBouncer
		return text + "; set it on the role (alter role … set …), " +
			"or name it in the pooler's ignore_startup_parameters, " +
			"and take it out of Config.DatabaseURL"
	case strings.Contains(text, "unrecognized configuration parameter"),
		strings.Contains(text, "invalid command-line argument for server process"):
		return text + "; correct it in Config.DatabaseURL: options=-c%20name%3Dvalue"
	}
	return text
}
