package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An Envoy of k8s/standalone is stopped under load: what its preStop runs, then SIGTERM. Clients reuse their connections and
// reach another Envoy by new ones a moment later, as a Service's do. No request fails, and a long one that is in flight
// past the endpoint's time ends well.
func TestEnvoyDrainsBeforeItStops(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../k8s/standalone/drain.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			began, release := make(chan struct{}), make(chan struct{})
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					close(began)
					<-release
				}
				fmt.Fprint(w, "served")
			})
			_, address := startScripted(t, allowed)
			old, admin, envoy := startBefore(t, handler, version, patient(t), address)
			other, _, _ := startBefore(t, handler, version, patient(t), address)
			var current atomic.Pointer[string]
			current.Store(&old)
			var closing atomic.Int64 // answers that asked to connect anew
			newClient := func() *http.Client {
				return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(*current.Load(), "http://"))
				}}}
			}
			get := func(client *http.Client, path string) error {
				response, err := client.Get("http://service" + path)
				if err != nil {
					return err
				}
				defer response.Body.Close()
				if response.Close {
					closing.Add(1)
				}
				body, err := io.ReadAll(response.Body)
				if err == nil && string(body) != "served" {
					err = fmt.Errorf("%d %q", response.StatusCode, body)
				}
				return err
			}
			eventually(t, "an answer", func() bool { return get(newClient(), "/") == nil })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var load sync.WaitGroup
			var requests atomic.Int64
			for range 4 {
				load.Go(func() {
					client := newClient()
					defer client.CloseIdleConnections()
					for ctx.Err() == nil {
						if err := get(client, "/"); err != nil {
							t.Errorf("under load: %v", err)
							return
						}
						requests.Add(1)
						time.Sleep(time.Millisecond)
					}
				})
			}
			slow := make(chan error)
			go func() { slow <- get(newClient(), "/slow") }()
			<-began
			more(t, requests.Load, 200)

			// preStop runs while the endpoint goes from everywhere.
			file := filepath.Join(t.TempDir(), "drain.sh")
			changed := strings.ReplaceAll(string(script), "/9901", "/"+admin[strings.LastIndex(admin, ":")+1:])
			if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			preStop := exec.CommandContext(t.Context(), "bash", file)
			ended := make(chan error, 1)
			go func() { ended <- preStop.Run() }()
			eventually(t, "answers that ask to connect anew", func() bool { return closing.Load() > 0 })
			current.Store(&other)
			active := func() int { return stat(t, admin, "http.http.downstream_rq_active") }
			eventually(t, "the load to have gone to the other", func() bool { return active() == 1 })
			time.Sleep(6 * time.Second) // longer than the endpoint's time
			select {
			case err := <-ended:
				t.Errorf("preStop ended (%v) with a request in flight", err)
			default:
			}
			close(release)
			if err := <-slow; err != nil {
				t.Errorf("the long request: %v", err)
			}
			if err := <-ended; err != nil {
				t.Errorf("preStop: %v", err)
			}
			if err := envoy.Stop(); err != nil {
				t.Errorf("Envoy ended with %v", err)
			}
			more(t, requests.Load, 200)
			cancel()
			load.Wait()
		})
	}
}
