package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

// outageLength is how long the page's switch stops extauthz.
const outageLength = 10 * time.Second

// serveControl opens the loopback address at which the front end has extauthz stopped for a while. The browser's tests
// can do more there.
func (d *demo) serveControl(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.controlURL = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			switch err := do(r); {
			case errors.Is(err, errStoppedAlready):
				http.Error(w, err.Error(), http.StatusConflict)
			case err != nil:
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("POST /outage", func(*http.Request) error { return d.outage(ctx) })
	if d.test {
		d.controlForTests(ctx, handle)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	context.AfterFunc(ctx, func() { server.Close() })
	return nil
}

// errStoppedAlready means that another visitor has used the switch, less than outageLength ago.
var errStoppedAlready = errors.New("extauthz is stopped already")

// outage stops extauthz by SIGSTOP, so that it answers nobody, and has it go on after outageLength.
func (d *demo) outage(ctx context.Context) error {
	process := d.process("extauthz")
	if process == nil {
		return errors.New("extauthz does not run")
	}
	if !d.stopped.TryLock() {
		return errStoppedAlready
	}
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		d.stopped.Unlock()
		return err
	}
	go func() {
		defer d.stopped.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(outageLength):
		}
		_ = process.Signal(syscall.SIGCONT) // an error means that it has ended
	}()
	return nil
}

// process is the latest that runs by this name.
func (d *demo) process(name string) *parts.Process {
	d.runningMu.Lock()
	defer d.runningMu.Unlock()
	for i := len(d.running) - 1; i >= 0; i-- {
		if d.running[i].Name == name {
			return d.running[i]
		}
	}
	return nil
}

// controlForTests is what the browser's tests can do beside clicking.
func (d *demo) controlForTests(ctx context.Context, handle func(string, func(*http.Request) error)) {
	started := func(url string, status int) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return d.process("envoy").Await(ctx, parts.AnswersHTTP(url, status))
	}
	handle("POST /extauthz/stop", func(*http.Request) error {
		d.process("extauthz").Stop()
		return nil
	})
	handle("POST /extauthz/start", func(*http.Request) error {
		if _, err := d.startExtauthz(ctx); err != nil {
			return err
		}
		return started(d.publicURL+"/api/me", http.StatusUnauthorized) // until Envoy has noticed
	})
	handle("POST /postgres/stop", func(*http.Request) error { return d.stopPostgres() })
	handle("POST /postgres/start", func(*http.Request) error { return d.postgres.Start(ctx) })
	// The front end anew, also while the database is away.
	handle("POST /web/restart", func(*http.Request) error {
		d.process("web").Stop()
		if err := d.startWeb(ctx); err != nil {
			return err
		}
		return started(d.publicURL+"/sign-in", http.StatusOK)
	})
	handle("POST /sessions/expire", func(r *http.Request) error {
		return d.update(r, `update "session" set "expiresAt" = now() - interval '1 minute'
			where "userId" in (select "id" from "user" where "email" = $1)`)
	})
}

// stopPostgres stops the server, for which the fast way is no fault.
func (d *demo) stopPostgres() error {
	_ = d.postgres.Stop()
	return nil
}

// update runs a statement about the user whose e-mail the request has.
func (d *demo) update(r *http.Request, statement string) error {
	var who struct{ Email string }
	if err := json.NewDecoder(r.Body).Decode(&who); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	connection, err := pgx.Connect(r.Context(), d.database)
	if err != nil {
		return err
	}
	defer connection.Close(r.Context())
	_, err = connection.Exec(r.Context(), statement, who.Email)
	return err
}

// runningProcesses guards what main starts and the control address replaces.
type runningProcesses struct {
	runningMu sync.Mutex
	running   []*parts.Process // in the order of their start, without PostgreSQL
	stopped   sync.Mutex       // held while extauthz is stopped by a signal
}
