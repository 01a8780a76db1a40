package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"extauthz/envoy/parts"
)

// runReplicas kills one of three replicas after another behind real Envoy, and starts it again. What was under way
// there is asked of another one, so that clients see no 503, and no invalid credential passes.
func (r *rig) runReplicas(report *report) error {
	var replicas []*server
	for i := range 3 {
		s, err := r.startServer(fmt.Sprint("replica-", i))
		if err != nil {
			return err
		}
		replicas = append(replicas, s)
		defer func() { s.Stop() }()
	}
	url, stop, err := r.startEnvoy(replicas)
	if err != nil {
		return err
	}
	defer stop()
	probes := r.probes()
	f := &fault{name: "a replica of three killed, behind Envoy", of: onNothing}
	l := &load{probes: probes, answers: make([][]answer, len(probes)), stop: func() {}}
	ended := make(chan struct{})
	var work sync.WaitGroup
	for i, p := range probes {
		work.Go(func() {
			client := &http.Client{Timeout: patience}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-ended:
					return
				default:
				}
				l.answers[i] = append(l.answers[i], askEnvoy(client, url, p.header()))
				time.Sleep(pace)
			}
		})
	}
	time.Sleep(steadyTime)
	began := time.Now()
	for range 2 {
		for _, s := range replicas {
			if err := s.Kill(); err != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond)
			if err := r.start(s); err != nil {
				return err
			}
			time.Sleep(3 * time.Second) // Envoy takes it in again
		}
	}
	over := time.Now()
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	well, err := r.awaitRecovery(over, probes,
		func(header map[string]string) answer { return askEnvoy(client, url, header) })
	close(ended)
	work.Wait()
	if err != nil {
		return err
	}
	report.add(r.judge(f, l, began, over, well))
	return nil
}

func askEnvoy(client *http.Client, url string, header map[string]string) answer {
	a := answer{at: time.Now()}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		a.err = err
		return a
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	a.took, a.err = time.Since(a.at), err
	if err == nil {
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		a.status = response.StatusCode
	}
	return a
}

// startEnvoy runs the sample with these servers for its one, and a backend that says yes.
func (r *rig) startEnvoy(servers []*server) (url string, stop func(), err error) {
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request) {
		fmt.Fprintln(w, "ok")
	})}
	var ports [3]int
	for i := range ports {
		if ports[i], err = parts.FreePort(); err != nil {
			return "", nil, err
		}
	}
	backend.Addr = fmt.Sprintf("127.0.0.1:%d", ports[1])
	go backend.ListenAndServe()
	content, err := os.ReadFile(filepath.Join(r.installer.Root(), "envoy", "http.yaml"))
	if err != nil {
		return "", nil, err
	}
	const endpoint = "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %s } } }"
	var endpoints []string
	for _, s := range servers {
		endpoints = append(endpoints, fmt.Sprintf(endpoint, s.checks[strings.LastIndex(s.checks, ":")+1:]))
	}
	changed := strings.NewReplacer(
		fmt.Sprintf(endpoint, "9191"), strings.Join(endpoints, "\n              "),
		"port_value: 8080 ", fmt.Sprintf("port_value: %d ", ports[0]), parts.BackendPipe, parts.BackendPort(ports[1]),
		"port_value: 9901 ", fmt.Sprintf("port_value: %d ", ports[2]),
	).Replace(string(content))
	config := filepath.Join(r.folder, "envoy.yaml")
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
		return "", nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	process, err := r.installer.StartEnvoy(r.ctx, r.folder, parts.EnvoyNewest, config, address)
	if err != nil {
		return "", nil, err
	}
	stop = func() { process.Stop(); backend.Close() }
	url = "http://" + address + "/api/me"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := askEnvoy(http.DefaultClient, url, bearer(r.people[0].jwt))
		if a.status == http.StatusOK {
			return url, stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, fmt.Errorf("envoy answers %d %v", a.status, a.err)
		}
	}
}

// runCertificate serves with a certificate that has ended: nobody who looks at it connects, so nobody passes; and once
// it is renewed all is well without a restart.
func (r *rig) runCertificate(report *report) error {
	authority, err := parts.NewAuthority()
	if err != nil {
		return err
	}
	folder := filepath.Join(r.folder, "tls")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	write := func(until time.Time) error { return authority.WriteFiles(folder, until, "127.0.0.1") }
	if err := write(time.Now().Add(-time.Minute)); err != nil {
		return err
	}
	s, err := r.startServer("certificate", "EXTAUTHZ_TLS_CERT_FILE="+folder+"/tls.crt",
		"EXTAUTHZ_TLS_KEY_FILE="+folder+"/tls.key")
	if err != nil {
		return err
	}
	defer s.Stop()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Certificate)
	c, err := dial(s.checks, credentials.NewTLS(&tls.Config{RootCAs: roots}))
	if err != nil {
		return err
	}
	defer c.connection.Close()
	row := faultRow{name: "listener's certificate ended"}
	for range 20 {
		a := c.check(r.ctx, bearer(r.people[0].jwt))
		row.checks++
		if a.err == nil {
			row.wrong = append(row.wrong, "a check is answered")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := write(time.Now().Add(time.Hour)); err != nil {
		return err
	}
	renewed := time.Now()
	c.connection.ResetConnectBackoff()
	for {
		a := c.check(r.ctx, bearer(r.people[0].jwt))
		row.checks++
		row.recovered = time.Since(renewed)
		if a.status == http.StatusOK {
			row.slowest = max(row.slowest, a.took)
			break
		}
		if row.recovered > recoveryTime {
			row.wrong = append(row.wrong, "it does not recover")
			break
		}
		c.connection.ResetConnectBackoff()
		time.Sleep(20 * time.Millisecond)
	}
	report.add(row)
	return nil
}
