package meshtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"istio.io/istio/pilot/test/xds"

	"extauthz/envoy/parts"
)

// Real ztunnel, told by istiod's code over xDS, enforces what TestAmbientPastTheWaypoint reads. Nobody publishes ztunnel
// for a package manager, so this runs where ZTUNNEL names one that was built from its source (cargo build
// --no-default-features --features tls-ring,testing), and ZTUNNEL_CA the folder src/tls of that source, whose authority
// the feature testing uses.
func TestZtunnelRefusesPastTheWaypoint(t *testing.T) {
	program, authority := os.Getenv("ZTUNNEL"), os.Getenv("ZTUNNEL_CA")
	if program == "" || authority == "" {
		t.Skip("ZTUNNEL and ZTUNNEL_CA name no ztunnel")
	}
	const pod = "127.0.7.2" // of services
	backend, err := net.Listen("tcp", pod+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the shop") })}
	go server.Serve(backend)
	t.Cleanup(func() { server.Close() })
	// run starts ztunnel by this control plane, and has a connection tried for each of these identities.
	run := func(t *testing.T, control *xds.FakeDiscoveryServer, try func(ask func(id string) (int, string))) {
		t.Helper()
		folder := t.TempDir()
		command := exec.Command(program)
		command.Dir = folder
		process, err := parts.Start("ztunnel", folder, []string{"PROXY_MODE=dedicated", "PROXY_WORKLOAD_INFO=shop/shop/shop", "FAKE_CA=true", "NODE_NAME=node",
			"XDS_ADDRESS=https://" + tlsFront(t, folder, control.Listener.Addr().String()), "XDS_ROOT_CA=" + filepath.Join(folder, "ca.crt"),
			"ISTIO_META_DNS_CAPTURE=false", "TERMINATION_GRACE_PERIOD_SECONDS=1", "RUST_LOG=info"}, command)
		if err != nil {
			t.Fatal(err)
		}
		defer process.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := process.Await(ctx, parts.AnswersHTTP("http://127.0.0.1:15021/healthz/ready", 200)); err != nil { // with all that istiod has
			t.Fatal(err, process.LogEnd())
		}
		try(func(id string) (int, string) { return throughHBONE(t, authority, id, pod, backend.Addr().String()) })
		if t.Failed() {
			t.Log(process.LogEnd())
		}
	}
	for _, state := range ambientStates {
		t.Run(state.title, func(t *testing.T) {
			control, _ := ambient(t, state.change(overlay(t, "istio-ambient")))
			wdsOf(t, control, 1, state.waypoint)
			run(t, control, func(ask func(string) (int, string)) {
				if status, body := ask(waypointID); status != 200 || body != "the shop" {
					t.Errorf("the waypoint: %d %q", status, body)
				}
				for _, stranger := range strangers {
					if stranger.id == "" {
						continue // without iptables plain text does not get to ztunnel; HBONE wants an identity
					}
					want := 401
					if !strings.HasPrefix(stranger.id, "spiffe://cluster.local/") {
						want = 0 // refused in the handshake already
					}
					if status, body := ask(stranger.id); status != want {
						t.Errorf("%s: %d %q, want %d", stranger.title, status, body, want)
					}
				}
			})
		})
	}
	t.Run("without the policy on the pods a stranger passes", func(t *testing.T) { // so the above says something
		control, _ := ambient(t, without(without(overlay(t, "istio-ambient"), "AuthorizationPolicy", "past-the-waypoint"), "Gateway", "waypoint"))
		wdsOf(t, control, 0, false)
		run(t, control, func(ask func(string) (int, string)) {
			if status, body := ask(strangers[2].id); status != 200 || body != "the shop" {
				t.Errorf("%s: %d %q", strangers[2].title, status, body)
			}
		})
	})
}

// tlsFront puts TLS, which ztunnel insists on, in front of istiod's plain gRPC.
func tlsFront(t *testing.T, folder, address string) string {
	t.Helper()
	authority, err := parts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.WriteFiles(folder, time.Now().Add(time.Hour), "localhost"); err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	front, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	go func() {
		for {
			client, err := front.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer server.Close()
				go io.Copy(server, client)
				io.Copy(client, server)
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(front.Addr().String())
	return "localhost:" + port
}

// throughHBONE asks a pod by ztunnel's protocol, CONNECT over HTTP/2 and mTLS, under this identity. The status is that of CONNECT.
func throughHBONE(t *testing.T, authority, id, pod, target string) (int, string) {
	t.Helper()
	read := func(name string) *pem.Block {
		content, err := os.ReadFile(filepath.Join(authority, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		return block
	}
	root, err := x509.ParseCertificate(read("root-cert.pem").Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := x509.ParsePKCS8PrivateKey(read("ca-key.pem").Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	name, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, root, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		// Its certificate is by SPIFFE id and not by name; who the server is does not matter here.
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}}
		return dialer.DialContext(ctx, "tcp", pod+":15008")
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reader, writer := io.Pipe()
	defer writer.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://"+target, reader)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, ""
	}
	go fmt.Fprintf(writer, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(response.Body), nil)
	if err != nil {
		return response.StatusCode, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return response.StatusCode, err.Error()
	}
	return answer.StatusCode, string(body)
}
