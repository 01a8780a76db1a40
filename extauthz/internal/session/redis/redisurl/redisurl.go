// Package redisurl reads the URL of a Redis: one server, several of which one is the master, a Sentinel's or a
// Cluster's. It imports show. It does not know that there are connections, and its errors hold nothing of the URL that
// could be a password.
package redisurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"extauthz/extauthz/internal/show"
)

// Mode is how a master is found.
type Mode uint8

const (
	Direct   Mode = iota // the hosts are tried, in their order
	Sentinel             // the hosts are Sentinels, which know the master
	Cluster              // the hosts are of a Cluster, where each key has its master
)

// Options is what a URL says.
type Options struct {
	Mode     Mode
	Hosts    []string // host:port each; or one path of a Unix socket
	IsUnix   bool
	Login    Login
	Database int
	Master   string // its name, for a Sentinel
	Sentinel Login  // at the Sentinels
	TLS      *TLS   // nil for none
	Unknown  []string
}

// Login is as whom to connect. An empty Password is none, an empty User the default one.
type Login struct{ User, Password string }

// TLS is how a server is recognised, and what is shown to it.
type TLS struct {
	Files    [3]string // of authorities, a certificate and its key; each may be empty
	Unproven bool      // any certificate will do
	roots    *x509.CertPool
	own      []tls.Certificate
}

// Config is for a connection to a host.
func (t *TLS) Config(host string) *tls.Config {
	return &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: t.roots, Certificates: t.own, InsecureSkipVerify: t.Unproven,
	}
}

// IsSame tells whether both lead to the same servers, database and user in the same way. The passwords do not count: a
// connection that is open outlives them.
func (o *Options) IsSame(other *Options) bool {
	return o.Mode == other.Mode && slices.Equal(o.Hosts, other.Hosts) && o.Login.User == other.Login.User &&
		o.Database == other.Database && o.Master == other.Master && isSameTLS(o.TLS, other.TLS)
}

func isSameTLS(a, b *TLS) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Files == b.Files && a.Unproven == b.Unproven && a.roots.Equal(b.roots) &&
		slices.EqualFunc(a.own, b.own, func(x, y tls.Certificate) bool {
			return slices.EqualFunc(x.Certificate, y.Certificate, slices.Equal[[]byte])
		})
}

// scheme is what stands before "://".
type scheme struct {
	mode   Mode
	isTLS  bool
	isUnix bool
}

var schemes = map[string]scheme{
	"redis": {}, "valkey": {}, "rediss": {isTLS: true}, "valkeys": {isTLS: true},
	"unix": {isUnix: true}, "redis+socket": {isUnix: true}, "redis+unix": {isUnix: true},
	"redis-sentinel": {mode: Sentinel}, "redis+sentinel": {mode: Sentinel}, "sentinel": {mode: Sentinel},
	"rediss-sentinel": {mode: Sentinel, isTLS: true}, "rediss+sentinel": {mode: Sentinel, isTLS: true},
	"redis-cluster": {mode: Cluster}, "redis+cluster": {mode: Cluster},
	"rediss-cluster": {mode: Cluster, isTLS: true}, "rediss+cluster": {mode: Cluster, isTLS: true},
}

const form = "write redis://user:password@host:6379/0, rediss:// for TLS, " +
	"redis-sentinel://host:26379,host:26379/master, " +
	"redis-cluster://host:6379,host:6379 or unix:///path"

// Parse reads a URL. Its error completes a sentence that begins with the setting's name.
func Parse(text string) (*Options, error) {
	name, rest, isURL := strings.Cut(strings.TrimSpace(text), "://")
	kind, isKnown := schemes[strings.ToLower(name)]
	switch {
	case text == "":
		return nil, errors.New("is empty; " + form)
	case !isURL:
		return nil, errors.New("is not a URL; " + form)
	case !isKnown:
		return nil, errors.New("has a scheme that is none of Redis'; " + form)
	case strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return nil, errors.New("holds a space or a control character; percent-encode it, as %20")
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path+fragment, "@") || strings.Contains(query, "@") && !strings.Contains(authority, "@") {
		return nil, errors.New("has an @ behind a /, ? or #; percent-encode these in the password (%2F, %3F, %23)")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("has parameters that cannot be read; write name=value, with & between")
	}
	o := &Options{Mode: kind.mode, IsUnix: kind.isUnix}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		if o.Login, err = readLogin(authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	if err := o.readHosts(authority, path); err != nil {
		return nil, err
	}
	if err := o.readParameters(values, kind.isTLS); err != nil {
		return nil, err
	}
	if o.IsUnix {
		path = ""
	}
	return o, o.readPath(strings.Trim(path, "/"))
}

// readLogin reads user:password, :password or user: alone.
func readLogin(text string) (l Login, err error) {
	user, password, hasPassword := strings.Cut(text, ":")
	var err1, err2 error
	l.User, err1 = url.PathUnescape(user)
	l.Password, err2 = url.PathUnescape(password)
	switch {
	case err1 != nil || err2 != nil:
		return l, errors.New("has a user or password with a % that begins no percent-encoding; write % as %25")
	case l.Password == "" && (hasPassword || l.User != "") && text != ":":
		return l, errors.New("has a user and no password; write user:password@, or :password@ for the default user")
	}
	return l, nil
}

func (o *Options) readHosts(authority, path string) error {
	if o.IsUnix {
		name, err := url.PathUnescape("/" + path)
		if err != nil || authority != "" || name == "/" {
			return errors.New("names no Unix socket; write unix:///path")
		}
		o.Hosts = []string{name}
		return nil
	}
	standard := "6379"
	if o.Mode == Sentinel {
		standard = "26379"
	}
	for _, one := range strings.Split(authority, ",") {
		host, port := one, standard
		if at := strings.LastIndex(one, ":"); at > strings.LastIndex(one, "]") {
			host, port = one[:at], one[at+1:]
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		number, err := strconv.ParseUint(port, 10, 16)
		switch {
		case host == "" && len(o.Hosts) == 0 && authority != one:
			return errors.New("names a host that is empty; " + form)
		case host == "" || strings.ContainsAny(host, "[]% \\") || strings.Contains(host, ":") && net.ParseIP(host) == nil:
			// It is not shown: where an @ is missing, or is written %40, it holds the password.
			return errors.New("names a host that is none, as where the @ behind the password is missing or is written %40; " +
				form)
		case err != nil || number == 0:
			return fmt.Errorf("has a port of the host %s that is invalid; ports go up to 65535", show.Quoted(host))
		}
		o.Hosts = append(o.Hosts, net.JoinHostPort(host, port))
	}
	return nil
}

// readPath reads the database's number, and of a Sentinel's URL the master's name before it.
func (o *Options) readPath(path string) error {
	if o.Mode == Sentinel && o.Master == "" {
		var err error
		name, rest, _ := strings.Cut(path, "/")
		if o.Master, err = url.PathUnescape(name); err != nil || o.Master == "" {
			return errors.New("names no master; write redis-sentinel://host:26379,host:26379/NAME, as sentinel.conf has it")
		}
		path = rest
	}
	if path != "" {
		if err := o.readDatabase(path); err != nil {
			return err
		}
	}
	if o.Mode == Cluster && o.Database != 0 {
		return errors.New("names a database, and a Redis Cluster has 0 alone; leave it out")
	}
	return nil
}

func (o *Options) readDatabase(text string) error {
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("has a path that is no database's number; write /0")
	}
	o.Database = int(number)
	return nil
}

// readParameters reads what the drivers of other languages know. Names that nobody here knows are kept in Unknown.
func (o *Options) readParameters(values url.Values, isTLS bool) error {
	proof := TLS{}
	for name, list := range values {
		value := list[len(list)-1]
		var err error
		switch strings.ReplaceAll(strings.ToLower(name), "-", "_") {
		case "db", "database":
			err = o.readDatabase(value)
		case "master", "mastername", "master_name", "master_set", "sentinelmasterid", "service_name":
			o.Master = value
		case "sentinel_password", "sentinelpassword":
			o.Sentinel.Password = value
		case "sentinel_user", "sentinel_username", "sentinelusername":
			o.Sentinel.User = value
		case "user", "username":
			o.Login.User = value
		case "password":
			o.Login.Password = value
		case "tls", "ssl":
			var on bool
			if on, err = strconv.ParseBool(value); err != nil {
				err = fmt.Errorf("has %s=, which is neither true nor false", name)
			}
			if isTLS && !on && err == nil {
				err = fmt.Errorf("is of rediss and has %s=false; write redis:// for no TLS", name)
			}
			isTLS = isTLS || on
		case "ssl_cert_reqs", "sslverify", "ssl_verify":
			switch strings.ToLower(value) {
			case "required", "cert_required", "true":
			case "none", "cert_none", "false", "optional", "cert_optional":
				proof.Unproven = true
			default:
				err = fmt.Errorf("has %s=, which is none of required, optional and none", name)
			}
		case "ssl_ca_certs", "sslrootcert", "ca":
			proof.Files[0] = value
		case "ssl_certfile", "sslcert":
			proof.Files[1] = value
		case "ssl_keyfile", "sslkey":
			proof.Files[2] = value
		default:
			if strings.Contains(name, "@") { // a part of the password, which would be logged
				err = errors.New("has an @ in a parameter's name; percent-encode a ? in the password as %3F")
			}
			o.Unknown = append(o.Unknown, show.Clip(name))
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(o.Unknown)
	switch {
	case !isTLS && (proof.Files != [3]string{} || proof.Unproven):
		return errors.New("has parameters of TLS and is not of rediss; write rediss://")
	case o.Login.Password == "" && o.Login.User != "":
		return errors.New("has a user and no password; write user:password@")
	case o.Mode != Sentinel && (o.Master != "" || o.Sentinel != Login{}):
		return errors.New("names a Sentinel's master; write redis-sentinel://")
	case isTLS && o.IsUnix:
		return errors.New("is a Unix socket's and asks for TLS, which there is none of; leave it out")
	case isTLS:
		o.TLS = &proof
		return proof.load()
	}
	return nil
}

// load reads the files.
func (t *TLS) load() error {
	if name := t.Files[0]; name != "" {
		content, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("names authorities that cannot be read: %w", err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(content) {
			return fmt.Errorf("names authorities in %s, which holds no certificate in PEM", show.Quoted(name))
		}
	}
	if (t.Files[1] == "") != (t.Files[2] == "") {
		return errors.New("names a certificate or a key alone; give ssl_certfile and ssl_keyfile")
	}
	if t.Files[1] != "" {
		pair, err := tls.LoadX509KeyPair(t.Files[1], t.Files[2])
		if err != nil {
			return fmt.Errorf("names a certificate that cannot be used: %w", err)
		}
		t.own = []tls.Certificate{pair}
	}
	return nil
}
