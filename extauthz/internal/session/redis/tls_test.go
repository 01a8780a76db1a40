package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/extauthz/internal/session/redis"
)

// newCertificate is of 127.0.0.1, signed by itself.
func newCertificate(t *testing.T) (certificate tls.Certificate, text []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The files that the URL names are renewed while the URL stays as it is: what is in them now counts.
func TestRenewedCertificateFiles(t *testing.T) {
	certificate, authority := newCertificate(t)
	_, former := newCertificate(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	serveFake(t, listener, func(command string) string {
		switch {
		case strings.HasPrefix(command, "GET"):
			return "$-1\r\n"
		case command == "ROLE":
			return "*1\r\n$6\r\nmaster\r\n"
		}
		return "+OK\r\n"
	})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, former, 0o600); err != nil {
		t.Fatal(err)
	}
	url := "rediss://" + listener.Addr().String() + "?ssl_ca_certs=" + file
	var stores []*redis.Store
	for _, read := range []func() (string, error){nil, func() (string, error) { return url, nil }} {
		store := openStore(t, redis.Config{URL: url, Keys: keys, Budget: 400 * time.Millisecond, ReadURL: read})
		await(t, "a refusal by the former authority", func() bool { return strings.Contains(store.Part().Fault, "certificate") })
		stores = append(stores, store)
	}
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, store := range stores {
		await(t, "an answer by the renewed one", store.IsReady)
	}
}
