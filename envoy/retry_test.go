package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"extauthz/envoy/parts"
)

// scripted answers checks as a test wants, and counts them.
type scripted struct {
	authv3.UnimplementedAuthorizationServer
	answer func(ctx context.Context) (*authv3.CheckResponse, error)
	calls  atomic.Int64
	health *health.Server
}

func (s *scripted) setHealth(status healthpb.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, status)
}

func (s *scripted) Check(ctx context.Context, _ *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.calls.Add(1)
	return s.answer(ctx)
}

func allowed(context.Context) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &statuspb.Status{}}, nil
}

func denied(code codes.Code, status int) func(context.Context) (*authv3.CheckResponse, error) {
	return func(context.Context) (*authv3.CheckResponse, error) {
		return &authv3.CheckResponse{Status: &statuspb.Status{Code: int32(code)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(status)}, Body: "by the check"}}}, nil
	}
}

func failing(code codes.Code) func(context.Context) (*authv3.CheckResponse, error) {
	return func(context.Context) (*authv3.CheckResponse, error) { return nil, status.Error(code, "scripted") }
}

// startScripted serves checks, and health, which Envoy asks for.
func startScripted(t *testing.T, answer func(context.Context) (*authv3.CheckResponse, error)) (*scripted, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{answer: answer}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	s.health = health.NewServer()
	s.setHealth(healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(server, s.health)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return s, listener.Addr().String()
}

// withEndpoints has the sample's cluster extauthz hold these addresses.
func withEndpoints(t *testing.T, config string, addresses ...string) string {
	t.Helper()
	const endpoint = "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %s } } }"
	var endpoints []string
	for _, address := range addresses {
		endpoints = append(endpoints, fmt.Sprintf(endpoint, address[strings.LastIndex(address, ":")+1:]))
	}
	before := fmt.Sprintf(endpoint, "9191")
	if !strings.Contains(config, before) {
		t.Fatal("the endpoint is not where it was")
	}
	return strings.Replace(config, before, strings.Join(endpoints, "\n              "), 1)
}

// startAlone runs http.yaml, changed, without extauthz: the addresses answer its checks, and the backend allows all.
func startAlone(t *testing.T, version string, change func(config string) string, addresses ...string) (url, admin string) {
	t.Helper()
	served := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })
	url, admin, _ = startBefore(t, served, version, change, addresses...)
	return url, admin
}

// startBefore is startAlone with a backend that is given.
func startBefore(t *testing.T, handler http.Handler, version string, change func(config string) string, addresses ...string) (
	url, admin string, envoy *parts.Process) {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(backend)
	t.Cleanup(func() { server.Close() })
	var ports [2]int
	for i := range ports {
		if ports[i], err = parts.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	sample, err := os.ReadFile("http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	changed := strings.NewReplacer("port_value: 8080 ", "port_value: "+itoa(ports[0])+" ", "port_value: 9901 ", "port_value: "+itoa(ports[1])+" ",
		parts.BackendPipe, parts.BackendPort(backend.Addr().(*net.TCPAddr).Port)).Replace(withEndpoints(t, change(string(sample)), addresses...))
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := "127.0.0.1:" + itoa(ports[0])
	envoy, err = installer.StartEnvoy(ctx, filepath.Dir(config), version, config, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { envoy.Stop() })
	return "http://" + address, "http://127.0.0.1:" + itoa(ports[1]), envoy
}

// closedAddress is one at which nothing listens, and nothing will while the test runs: the port is bound all the time.
func closedAddress(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
}

// askAll sends requests by so many clients, and returns how many got which status.
func askAll(t *testing.T, url string, clients, each int) map[int]int {
	t.Helper()
	var (
		mu  sync.Mutex
		got = map[int]int{}
		all sync.WaitGroup
	)
	for range clients {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range each {
				status := 0
				response, err := client.Get(url + "/")
				if err == nil {
					status = response.StatusCode
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got[status]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return got
}

func asItIs(config string) string { return config }

// onlyRetries leaves the cluster neither health checks nor ejection, so that every request meets the dead.
func onlyRetries(t *testing.T) func(string) string {
	return func(config string) string {
		from, to := strings.Index(config, "      health_checks:"), strings.Index(config, "      circuit_breakers:")
		if from < 0 || to < from {
			t.Fatal("health checks and outlier detection are not where they were")
		}
		return config[:from] + config[to:]
	}
}

// stat is a counter or gauge of Envoy's, 0 where it was never touched.
func stat(t *testing.T, admin, name string) (value int) {
	t.Helper()
	for line := range strings.Lines(send(t, "GET", admin+"/stats?filter=^"+name+"$", nil, "").body) {
		if _, err := fmt.Sscanf(strings.TrimPrefix(line, name+": "), "%d", &value); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return value
}

// What a check decides is passed on as it is and asked once, however slow it is. Asked again is only what did not decide.
func TestRetriesAreOfWhatDidNotDecide(t *testing.T) {
	slow := func(ctx context.Context) (*authv3.CheckResponse, error) {
		time.Sleep(150 * time.Millisecond)
		return allowed(ctx)
	}
	for _, version := range envoyVersions {
		for _, row := range []struct {
			title         string
			answer        func(context.Context) (*authv3.CheckResponse, error)
			status, calls int
		}{
			{"allowed", allowed, 200, 1},
			{"allowed, slowly", slow, 200, 1},
			{"401", denied(codes.Unauthenticated, 401), 401, 1},
			{"403", denied(codes.PermissionDenied, 403), 403, 1},
			{"503 by the check itself", denied(codes.Unavailable, 503), 503, 1},
			{"UNAVAILABLE", failing(codes.Unavailable), 503, 3},
			{"RESOURCE_EXHAUSTED", failing(codes.ResourceExhausted), 503, 1},
			{"DEADLINE_EXCEEDED", failing(codes.DeadlineExceeded), 503, 1},
			{"CANCELLED", failing(codes.Canceled), 503, 1},
			{"INTERNAL", failing(codes.Internal), 503, 1},
			{"UNAUTHENTICATED, without a verdict", failing(codes.Unauthenticated), 503, 1},
		} {
			t.Run(version+"/"+row.title, func(t *testing.T) {
				s, address := startScripted(t, row.answer)
				url, _ := startAlone(t, version, asItIs, address)
				var a answer
				eventually(t, "the answer in time", func() bool { // a busy machine may take longer than the 0.5 s of the filter
					s.calls.Store(0)
					a = send(t, "GET", url+"/", nil, "")
					if got := s.calls.Load(); got > int64(row.calls) {
						t.Errorf("%d calls for one request, want %d", got, row.calls)
					}
					return a.status != 503 || row.status == 503 && s.calls.Load() == int64(row.calls)
				})
				if wantsBody := row.calls == 1 && row.title[0] < 'A'; a.status != row.status || wantsBody && a.body != "by the check" {
					t.Errorf("%d %q, want %d", a.status, a.body, row.status)
				}
			})
		}
	}
}

// Two replicas are dead and nothing says so yet: each request is answered, by the third, whatever it says.
func TestDeadReplicasAreSkipped(t *testing.T) {
	t.Parallel()
	for _, version := range envoyVersions {
		for _, row := range []struct {
			title  string
			answer func(context.Context) (*authv3.CheckResponse, error)
			status int
		}{
			{"allowed", allowed, 200},
			{"denied", denied(codes.Unauthenticated, 401), 401},
		} {
			t.Run(version+"/"+row.title, func(t *testing.T) {
				t.Parallel()
				_, address := startScripted(t, row.answer)
				_, failingToo := startScripted(t, failing(codes.Unavailable))
				for title, others := range map[string][]string{
					"closed": {closedAddress(t), closedAddress(t)}, "closed, and one that is unavailable": {closedAddress(t), failingToo},
				} {
					url, admin := startAlone(t, version, func(config string) string {
						// Longer than a busy machine takes: it is about connections, not time.
						return strings.ReplaceAll(onlyRetries(t)(config), " 0.5s", " 5s")
					}, append(others, address)...)
					for _, clients := range []int{1, 32} {
						if got := askAll(t, url, clients, 60); got[row.status] != clients*60 {
							t.Errorf("%s: %d clients got %v, want %d each time", title, clients, got, row.status)
						}
					}
					if stat(t, admin, "cluster.extauthz.upstream_rq_retry") == 0 {
						t.Errorf("%s: there was no retry, so this shows nothing", title)
					}
				}
			})
		}
	}
}

// A replica that says that it is not serving is not asked while another is, though two of three say so; and all are asked
// when none is, since what they answer is better than what Envoy can.
func TestUnhealthyReplicasAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, version := range envoyVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var replicas []*scripted
			var addresses []string
			for range 3 {
				s, address := startScripted(t, allowed)
				replicas, addresses = append(replicas, s), append(addresses, address)
			}
			url, admin := startAlone(t, version, asItIs, addresses...)
			healthy := func() int { return stat(t, admin, "cluster.extauthz.membership_healthy") }
			replicas[0].setHealth(healthpb.HealthCheckResponse_NOT_SERVING)
			replicas[1].setHealth(healthpb.HealthCheckResponse_NOT_SERVING)
			eventually(t, "two to be left out", func() bool { return healthy() == 1 })
			// Envoy's workers hear of several changes together, up to a second later (update_merge_window).
			eventually(t, "60 of 60, all by the third", func() bool {
				before := replicas[0].calls.Load() + replicas[1].calls.Load()
				return askAll(t, url, 1, 60)[200] == 60 && replicas[0].calls.Load()+replicas[1].calls.Load() == before
			})
			replicas[2].setHealth(healthpb.HealthCheckResponse_NOT_SERVING)
			eventually(t, "all three to be left out", func() bool { return healthy() == 0 })
			eventually(t, "an answer of theirs all the same", func() bool { return send(t, "GET", url+"/", nil, "").status == 200 })
		})
	}
}

// An outage is not multiplied: at most three calls for a request where nothing decides, and one where it is load. After five
// in a row the replica is left out.
func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	const clients, each = 16, 10
	for _, version := range envoyVersions {
		for _, row := range []struct {
			title  string
			answer func(context.Context) (*authv3.CheckResponse, error)
			calls  int64 // a request
		}{
			{"unavailable", failing(codes.Unavailable), 3},
			{"overloaded", failing(codes.ResourceExhausted), 1},
			{"out of time", func(ctx context.Context) (*authv3.CheckResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}, 1},
		} {
			t.Run(version+"/"+row.title, func(t *testing.T) {
				t.Parallel()
				var replicas []*scripted
				var addresses []string
				for range 3 {
					s, address := startScripted(t, row.answer)
					replicas, addresses = append(replicas, s), append(addresses, address)
				}
				url, admin := startAlone(t, version, asItIs, addresses...)
				if got := askAll(t, url, clients, each); got[503] != clients*each {
					t.Errorf("%v, want 503 each time", got)
				}
				calls := replicas[0].calls.Load() + replicas[1].calls.Load() + replicas[2].calls.Load()
				most := row.calls * clients * each
				if row.title == "out of time" { // where a server ends the call just before Envoy does, another one is asked
					most += clients * each / 10
				}
				if calls < clients*each || calls > most {
					t.Errorf("%d calls for %d requests, want at most %d", calls, clients*each, most)
				}
				if row.title != "overloaded" { // Envoy's main thread does it, after the workers have answered
					eventually(t, "one to be left out", func() bool {
						return stat(t, admin, "cluster.extauthz.outlier_detection.ejections_enforced_total") > 0
					})
				}
			})
		}
		t.Run(version+"/gone", func(t *testing.T) {
			t.Parallel()
			url, admin := startAlone(t, version, asItIs, closedAddress(t), closedAddress(t), closedAddress(t))
			if got := askAll(t, url, clients, each); got[503] != clients*each {
				t.Errorf("%v, want 503 each time", got)
			}
			if retries := stat(t, admin, "cluster.extauthz.upstream_rq_retry"); retries > 2*clients*each {
				t.Errorf("%d retries for %d requests, want at most two each", retries, clients*each)
			}
		})
	}
}
