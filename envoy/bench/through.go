package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/envoy/parts"
)

// envoyConfig is an Envoy with one route and the filters given, which differ from one measured way to the other.
const envoyConfig = `
static_resources:
  listeners:
    - address: { socket_address: { address: 127.0.0.1, port_value: %[1]d } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: http
                http_filters:
%[2]s
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
                route_config:
                  virtual_hosts:
                    - { name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: backend } }] }
  clusters:
    - name: backend
      load_assignment: { cluster_name: backend, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %[3]d } } } }] }] }
    - name: authorizer
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      load_assignment: { cluster_name: authorizer, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %[4]d } } } }] }] }
`

const extAuthzFilter = `                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service: { envoy_grpc: { cluster_name: authorizer }, timeout: 0.5s }
                      status_on_error: { code: ServiceUnavailable }`

// jwtAuthnFilter is Envoy's own JWT filter with the same issuer, audience and key.
func (b *bench) jwtAuthnFilter(cache string) string {
	return fmt.Sprintf(`                  - name: envoy.filters.http.jwt_authn
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
                      providers:
                        issuer: { issuer: "%s", audiences: ["%s"], local_jwks: { inline_string: '%s' }, forward: true%s }
                      rules: [{ match: { prefix: / }, requires: { provider_name: issuer } }]`, b.issuer.url, benchAudience, b.issuer.document, cache)
}

// way is one way through Envoy.
type way struct {
	name    string
	filter  string
	address string // of the authorization server, when there is one
	process *parts.Process
	listens string
}

// throughEnvoy measures requests a second through one worker of Envoy, over 10,000 tokens.
func (b *bench) throughEnvoy() error {
	backend, err := b.startPeer(serverBackend)
	if err != nil {
		return err
	}
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz-envoy")
	if err != nil {
		return err
	}
	ways := []*way{
		{name: "no filter"},
		{name: "jwt_authn at its defaults", filter: b.jwtAuthnFilter("")},
		{name: "jwt_authn with its cache", filter: b.jwtAuthnFilter(", jwt_cache_config: { jwt_cache_size: 20000 }")},
		{name: "ext_authz, no-op server", filter: extAuthzFilter, address: noOp.address},
		{name: "ext_authz, extauthz", filter: extAuthzFilter, address: product.address},
	}
	for _, w := range ways {
		if err := b.startWay(w, backend.address); err != nil {
			return err
		}
	}
	requests := make([]string, 10_000)
	for i := range requests {
		requests[i] = "GET /api/me HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer " + b.issuer.token(i) +
			"\r\nAccept: application/json\r\n\r\n"
	}
	best := make([]result, len(ways))
	for round := range 5 { // the first warms up
		for i, w := range ways {
			r, err := driveHTTP(b.ctx, w.listens, w.process.PID(), 20_000, 64, requests)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 {
				best[i].keepBest(r)
			}
		}
	}
	for i, w := range ways {
		b.note("through Envoy, "+w.name,
			fmt.Sprintf("%.0f requests/s, %.1f µs of Envoy's CPU", best[i].perSecond(), best[i].microseconds()), "")
	}
	b.costs.envoy = best[4].microseconds() - best[0].microseconds()
	b.ratio("envoy", "requests a second through Envoy ÷ jwt_authn at its defaults",
		best[4].perSecond()/best[1].perSecond(), "≥ 1.15")
	b.ratio("envoy-cache", "requests a second through Envoy ÷ jwt_authn with its cache",
		best[4].perSecond()/best[2].perSecond(), "")
	return nil
}

func (b *bench) startWay(w *way, backend string) error {
	port, err := parts.FreePort()
	if err != nil {
		return err
	}
	authorizer := 1 // nobody, where there is no filter that asks
	if w.address != "" {
		authorizer = portOf(w.address)
	}
	folder := filepath.Join(b.folder, "envoy-"+strconv.Itoa(port))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	config := filepath.Join(folder, "envoy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, envoyConfig, port, w.filter, portOf(backend), authorizer),
		0o600); err != nil {
		return err
	}
	w.listens = fmt.Sprintf("127.0.0.1:%d", port)
	w.process, err = b.installer.StartEnvoy(b.ctx, folder, parts.EnvoyNewest, config, w.listens)
	if w.process != nil {
		b.running = append(b.running, w.process)
	}
	return err
}

func portOf(address string) int {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	return port
}

// driveHTTP sends so many requests over so many connections, one after another on each, and wants 200s.
func driveHTTP(ctx context.Context, address string, pid, requests, connections int, texts []string) (result, error) {
	before, err := processorTime(pid)
	if err != nil {
		return result{}, err
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var work sync.WaitGroup
	started := time.Now()
	for range connections {
		work.Go(func() {
			err := func() error {
				connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
				if err != nil {
					return err
				}
				defer connection.Close()
				reader := bufio.NewReader(connection)
				for failed.Load() == nil {
					n := int(next.Add(1)) - 1
					if n >= requests {
						return nil
					}
					if _, err := connection.Write([]byte(texts[n%len(texts)])); err != nil {
						return err
					}
					if err := readAnswer(reader); err != nil {
						return err
					}
				}
				return nil
			}()
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	work.Wait()
	seconds := time.Since(started).Seconds()
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	after, err := processorTime(pid)
	return result{checks: requests, seconds: seconds, cpu: after - before}, err
}

// readAnswer reads one HTTP/1.1 answer with a content-length, as cheaply as can be.
func readAnswer(reader *bufio.Reader) error {
	status, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), "HTTP/1.1 200") {
		return errors.New("the answer is " + strings.TrimSpace(string(status)))
	}
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if text, found := strings.CutPrefix(string(line), "content-length: "); found {
			if length, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
				return err
			}
		}
	}
	_, err = reader.Discard(length)
	return err
}
