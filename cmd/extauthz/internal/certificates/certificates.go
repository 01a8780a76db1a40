// Package certificates is the TLS side of the listeners: files that are read anew when they change, and the names that
// clients must have. It imports discreet alone and does not know what is served.
package certificates

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/cmd/extauthz/internal/discreet"
)

// Files say where the listener's certificates are. Empty certificate: no TLS.
type Files struct {
	Certificate, Key string
	ClientCA         string   // turns on mTLS
	ClientNames      []string // SPIFFE ids and DNS names that may connect; empty for all that clientCA vouches for
}

// Check wants what goes together. Its error names the variable to set.
func (f *Files) Check() error {
	switch {
	case (f.Certificate == "") != (f.Key == ""):
		return errors.New("EXTAUTHZ_TLS_CERT_FILE and EXTAUTHZ_TLS_KEY_FILE must be set together")
	case f.ClientCA != "" && f.Certificate == "":
		return errors.New("EXTAUTHZ_TLS_CLIENT_CA_FILE requires EXTAUTHZ_TLS_CERT_FILE and EXTAUTHZ_TLS_KEY_FILE; set them, too")
	case len(f.ClientNames) > 0 && f.ClientCA == "":
		return errors.New("EXTAUTHZ_TLS_CLIENT_NAMES requires EXTAUTHZ_TLS_CLIENT_CA_FILE, which verifies the names; set it, too")
	}
	return nil
}

// LookInterval bounds how often the files are looked at.
const LookInterval = time.Second

// Certificates is the TLS side of the listeners. Files that have changed are read anew before the next handshake,
// so that a renewal, which in Kubernetes is a symlink that is moved, needs neither a restart nor a watcher,
// and touches no connection that is open. What cannot be used is logged, and the earlier files go on serving. All
// methods are safe for concurrent use.
type Certificates struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	sum     [sha256.Size]byte // of the files as they were last read, usable or not
	current *tls.Config       // the last usable one
}

// New reads the files. Its error says which setting is at fault.
func New(files Files, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, log: log}
	contents, err := files.read()
	if err != nil {
		return nil, err
	}
	c.sum, c.looked = sumOf(contents), time.Now()
	c.current, err = files.config(contents)
	return c, err
}

// read returns the contents of the certificate, the key and, if there is one, the authorities of the clients.
func (f *Files) read() (contents [3][]byte, err error) {
	for i, file := range []struct{ variable, path string }{
		{"EXTAUTHZ_TLS_CERT_FILE", f.Certificate}, {"EXTAUTHZ_TLS_KEY_FILE", f.Key},
		{"EXTAUTHZ_TLS_CLIENT_CA_FILE", f.ClientCA},
	} {
		if file.path == "" {
			continue
		}
		if contents[i], err = os.ReadFile(file.path); err != nil {
			return contents, fmt.Errorf("%s names a file that cannot be read (%w); check its path and rights",
				file.variable, discreet.PathFault(file.path, err))
		}
	}
	return contents, nil
}

func sumOf(contents [3][]byte) [sha256.Size]byte {
	whole := sha256.New()
	for _, content := range contents {
		one := sha256.Sum256(content)
		whole.Write(one[:])
	}
	return [sha256.Size]byte(whole.Sum(nil))
}

func (f *Files) config(contents [3][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("EXTAUTHZ_TLS_CERT_FILE and EXTAUTHZ_TLS_KEY_FILE do not match (%w); give a certificate chain and its private key, both PEM", err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12, // which is as high as Envoy goes unless it is told to
		NextProtos:   []string{"h2"},
	}
	if f.ClientCA == "" {
		return config, nil
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(contents[2]) {
		return nil, errors.New("EXTAUTHZ_TLS_CLIENT_CA_FILE holds no certificate; give the authorities that sign the clients' certificates, PEM")
	}
	config.VerifyConnection = f.checkClient
	return config, nil
}

// checkClient wants one of the names in the client's certificate, whole: a SPIFFE id is a URI, compared as it
// stands (SPIFFE-ID §2), a DNS name likewise, without wildcards.
func (f *Files) checkClient(state tls.ConnectionState) error {
	if len(f.ClientNames) == 0 {
		return nil
	}
	client := state.PeerCertificates[0]
	names := slices.Clone(client.DNSNames)
	for _, uri := range client.URIs {
		names = append(names, uri.String())
	}
	if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(f.ClientNames, name) }) {
		return nil
	}
	return fmt.Errorf("the client's certificate is for %q, and EXTAUTHZ_TLS_CLIENT_NAMES lists none of these", names)
}

// Latest is the configuration by the files as they are now.
func (c *Certificates) Latest() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < LookInterval {
		return c.current
	}
	c.looked = time.Now()
	contents, err := c.files.read()
	if err == nil {
		sum := sumOf(contents)
		if sum == c.sum {
			return c.current
		}
		c.sum = sum
		var fresh *tls.Config
		if fresh, err = c.files.config(contents); err == nil {
			c.current = fresh
			c.log.Info("TLS certificate reloaded", "not_after", NotAfter(fresh).UTC().Format(time.RFC3339))
			return c.current
		}
	}
	c.log.Warn("the changed TLS files cannot be used; the earlier ones stay in use", "error", err)
	return c.current
}

// NotAfter is when the certificate ends.
func NotAfter(config *tls.Config) time.Time { return config.Certificates[0].Leaf.NotAfter }

// Transport is the server's credentials: TLS for TCP and for abstract Unix sockets, which every process of the
// network namespace reaches; none for a Unix socket with a file, which the file system guards.
func (c *Certificates) Transport() credentials.TransportCredentials {
	return &transport{
		TransportCredentials: credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.Latest(), nil },
		}),
		plain: insecure.NewCredentials(), log: c.log,
	}
}

type transport struct {
	credentials.TransportCredentials
	plain credentials.TransportCredentials
	log   *slog.Logger
}

// ServerHandshake implements [credentials.TransportCredentials].
func (t *transport) ServerHandshake(connection net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if local := connection.LocalAddr(); local.Network() == "unix" && !strings.HasPrefix(local.String(), "@") {
		return t.plain.ServerHandshake(connection)
	}
	secured, info, err := t.TransportCredentials.ServerHandshake(connection)
	if err != nil && t.log.Enabled(context.Background(), slog.LevelInfo) {
		t.log.Info("TLS handshake failed", "client", connection.RemoteAddr().String(), "error", err)
	}
	return secured, info, err
}

// Clone implements [credentials.TransportCredentials].
func (t *transport) Clone() credentials.TransportCredentials {
	return &transport{t.TransportCredentials.Clone(), t.plain.Clone(), t.log}
}
