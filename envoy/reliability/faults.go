package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

// fault is something that goes wrong, for a while.
type fault struct {
	name    string
	of      string // which probes it may touch: onDatabase, onJWKS or onNothing
	matters bool   // part of the short run
	begin   func() error
	end     func() error
	// settings make a server of the fault's own, which prepare may change before it is loaded.
	settings []string
	during   func(s *server) error // begins it on that server; its end is end
}

func nothing() error { return nil }

func (r *rig) faults() []fault {
	var faults []fault
	add := func(f fault) { faults = append(faults, f) }
	postgres := func(name string, matters bool, begin, end func() error) {
		add(fault{name: "PostgreSQL " + name, of: onDatabase, matters: matters, begin: begin, end: end})
	}
	postgres("killed", true, func() error { return r.signalPostgres(syscall.SIGKILL) },
		func() error { return r.postgres.Start(r.ctx) })
	postgres("restarted", false, func() error { r.postgres.Stop(); return nil },
		func() error { return r.postgres.Start(r.ctx) })
	postgres("frozen", true, func() error { return r.signalPostgres(syscall.SIGSTOP) },
		func() error { return r.signalPostgres(syscall.SIGCONT) })
	postgres("failed over to another", false,
		func() error { return r.proxy.set(true, fmt.Sprintf("127.0.0.1:%d", r.second.Port)) },
		func() error { return r.proxy.set(true, r.proxy.upstream) })
	limit := func(connections int) error {
		return execute(r.ctx, r.postgres.URL("app"),
			fmt.Sprintf("alter role %s connection limit %d", parts.Reader, connections))
	}
	postgres("out of connections", false, func() error { return errors.Join(limit(0), r.dropConnections()) },
		func() error { return limit(-1) })
	postgres("with its session table locked", false, func() error { return r.lock(3 * time.Second) }, nothing)
	postgres("cut off", true, func() error { return r.proxy.set(false, r.proxy.upstream) },
		func() error { return r.proxy.set(true, r.proxy.upstream) })
	for _, toxic := range []struct {
		name, kind string
		attributes map[string]any
	}{
		{"100 ms away", "latency", map[string]any{"latency": 100, "jitter": 50}},
		{"1 s away", "latency", map[string]any{"latency": 1000}},
		{"answering by 1 KB a second", "bandwidth", map[string]any{"rate": 1}},
		{"answering byte by byte", "slicer", map[string]any{"average_size": 1, "size_variation": 0, "delay": 1000}},
		{"silent", "timeout", map[string]any{"timeout": 0}},
		{"resetting connections", "reset_peer", map[string]any{"timeout": 20}},
		{"behind a pooler that drops every 4 KB", "limit_data", map[string]any{"bytes": 4096}},
	} {
		postgres(toxic.name, false, func() error { return r.proxy.poison(toxic.kind, toxic.attributes) }, r.proxy.heal)
	}
	for _, mode := range []string{"slow", "hanging", "429", "500", "HTML", "empty", "100 MB", "truncated",
		"of a wrong type", "redirecting elsewhere", "alternating between two key sets"} {
		of := onJWKS
		add(fault{name: "JWKS " + mode, of: of, matters: mode == "hanging" || mode == "alternating between two key sets",
			begin: func() error { r.issuer.set(mode); return nil }, end: func() error { r.issuer.set("well"); return nil }})
	}
	add(fault{name: "audit log on a full disk", of: onNothing, matters: true,
		settings: []string{"EXTAUTHZ_AUDIT_LOG=/dev/full"}, begin: nothing, end: nothing})
	dns := filepath.Join(r.folder, "database-url")
	write := func(content string) error { return os.WriteFile(dns, []byte(content), 0o600) }
	add(fault{name: "PostgreSQL's name not to be resolved", of: onDatabase,
		settings: []string{"DATABASE_URL=", "DATABASE_URL_FILE=" + dns},
		begin: func() error {
			return errors.Join(write("postgresql://"+parts.Reader+"@database.invalid:5432/app?sslmode=disable"),
				r.dropConnections())
		},
		end: func() error { return write(r.databaseURL()) }})
	add(fault{name: "file descriptors spent", of: onNothing, during: r.spendDescriptors, end: nothing,
		settings: []string{}})
	return faults
}

// signalPostgres signals the server and all its processes.
func (r *rig) signalPostgres(signal syscall.Signal) error {
	pids, err := childrenOf(r.postgres.PID())
	if err != nil {
		return err
	}
	for _, pid := range append(pids, r.postgres.PID()) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

func childrenOf(pid int) (pids []int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	for _, task := range tasks {
		content, err := os.ReadFile(task)
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(content)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids, nil
}

// dropConnections ends what the reader has open, as an operator would.
func (r *rig) dropConnections() error {
	return execute(r.ctx, r.postgres.URL("app"),
		`select pg_terminate_backend(pid) from pg_stat_activity where usename = '`+parts.Reader+`'`)
}

// lock keeps the session table locked for so long.
func (r *rig) lock(duration time.Duration) error {
	connection, err := pgx.Connect(r.ctx, r.postgres.URL("app"))
	if err != nil {
		return err
	}
	transaction, err := connection.Begin(r.ctx)
	if err != nil {
		return err
	}
	if _, err := transaction.Exec(r.ctx,
		`set local lock_timeout = '1s'; lock table "session" in access exclusive mode`); err != nil {
		return err
	}
	time.AfterFunc(duration, func() { connection.Close(context.Background()) })
	return nil
}

// spendDescriptors leaves the server none for new connections, for a while; those that are open go on.
func (r *rig) spendDescriptors(s *server) error {
	used, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		return err
	}
	set := func(limit int) error {
		return exec.Command("prlimit", fmt.Sprintf("--pid=%d", s.PID()), fmt.Sprintf("--nofile=%d:", limit)).Run()
	}
	if err := set(len(used)); err != nil {
		return err
	}
	time.AfterFunc(faultTime, func() { set(4096) })
	return nil
}

const (
	steadyTime   = time.Second
	faultTime    = 3 * time.Second
	recoveryTime = 3 * time.Second
	afterTime    = time.Second // in which all is seen to be well
)

// runFaults runs one fault after another, each under load.
func (r *rig) runFaults(o *options, report *report) error {
	for _, f := range r.faults() {
		if !o.selected(f.name, f.matters) {
			continue
		}
		if err := r.runFault(&f, report); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if o.selected("a replica of three killed, behind Envoy", true) {
		if err := r.runReplicas(report); err != nil {
			return fmt.Errorf("replicas: %w", err)
		}
	}
	if o.selected("listener's certificate ended", false) {
		return r.runCertificate(report)
	}
	return nil
}

func (r *rig) runFault(f *fault, report *report) error {
	s := r.server
	if f.settings != nil {
		if err := os.WriteFile(filepath.Join(r.folder, "database-url"), []byte(r.databaseURL()), 0o600); err != nil {
			return err
		}
		var err error
		if s, err = r.startServer("own", f.settings...); err != nil {
			return err
		}
		defer s.Stop()
	}
	c, err := dial(s.checks, nil)
	if err != nil {
		return err
	}
	defer c.connection.Close()
	probes := r.probes()
	// Everything is well, and has been seen once.
	for i := range probes {
		if a := c.check(r.ctx, probes[i].header()); probes[i].valid != (a.status == 200) {
			return fmt.Errorf("%s: %d %s %v before the fault", probes[i].name, a.status, a.reason, a.err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	goroutines, memory := s.metric("go_goroutines", ""), s.metric("process_resident_memory_bytes", "")
	l := startLoad(r.ctx, c, probes)
	time.Sleep(steadyTime)
	began := time.Now()
	if f.during != nil {
		err = f.during(s)
	} else {
		err = f.begin()
	}
	if err != nil {
		l.end()
		return fmt.Errorf("causing it: %w", err)
	}
	time.Sleep(faultTime)
	err = f.end()
	ended := time.Now()
	if err != nil {
		l.end()
		return fmt.Errorf("ending it: %w", err)
	}
	well, err := r.awaitRecovery(ended, probes, func(header map[string]string) answer { return c.check(r.ctx, header) })
	l.end()
	if err != nil {
		return err
	}
	row := r.judge(f, l, began, ended, well)
	// What the load itself took is gone a moment later.
	for deadline := time.Now().Add(5 * time.Second); s.metric("go_goroutines", "") > goroutines+8 &&
		time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	row.goroutines = s.metric("go_goroutines", "") - goroutines
	row.memory = (s.metric("process_resident_memory_bytes", "") - memory) / (1 << 20)
	if row.goroutines > 8 {
		row.wrong = append(row.wrong, fmt.Sprintf("%.0f goroutines more than before", row.goroutines))
	}
	if row.memory > 64 {
		row.wrong = append(row.wrong, fmt.Sprintf("%.0f MiB more than before", row.memory))
	}
	report.add(row)
	return nil
}

// awaitRecovery tells when all must be well after a fault's end, and returns a while later.
func (r *rig) awaitRecovery(
	ended time.Time, probes []probe, ask func(header map[string]string) answer,
) (well time.Time, err error) {
	time.Sleep(recoveryTime)
	well = ended.Add(recoveryTime)
	for r.bounds.recovery > recoveryTime { // until it is, then
		ill := slices.IndexFunc(probes, func(p probe) bool { return p.valid && ask(p.header()).status != 200 })
		well = time.Now()
		if ill < 0 {
			break
		}
		if well.After(ended.Add(r.bounds.recovery)) {
			return well, fmt.Errorf("%s: still not allowed %s after the fault", probes[ill].name, r.bounds.recovery)
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(afterTime)
	return well, nil
}

// judge holds the answers against what must be: from well on no fault explains any 503.
func (r *rig) judge(f *fault, l *load, began, ended, well time.Time) faultRow {
	row := faultRow{name: f.name}
	wrong := map[string]int{}
	for i := range l.probes {
		p := &l.probes[i]
		// A check lasts longer where it fails, so that there are few of these; each part of the time is looked at for itself.
		meanwhile, otherwise, late := newLosses(), newLosses(), newLosses()
		for j := range l.answers[i] {
			a := &l.answers[i][j]
			during := a.at.After(began) && a.at.Before(ended)
			row.slowest = max(row.slowest, a.took)
			row.checks++
			if what := p.wrong(a, r.bounds.longest); what != "" {
				wrong[p.name+": "+what]++
			}
			undue := otherwise
			if during {
				undue = meanwhile
			}
			undue.checks++
			if a.at.After(well) {
				late.checks++
			}
			switch {
			case !p.valid:
			case a.status == 503:
				row.unavailable++
				row.recovered = max(row.recovered, a.at.Add(a.took).Sub(ended))
				if p.dependsOn != f.of {
					undue.of[p.name+": 503 "+a.reason+", though it does not depend on this"]++
				}
				if a.at.After(well) {
					late.of[p.name+": 503 "+a.reason+" long after the fault"]++
				}
			case during:
				row.allowedDuring++
			}
		}
		for _, lost := range []*losses{meanwhile, otherwise, late} {
			lost.addUnlessFew(wrong, r.bounds.lost)
		}
	}
	for what, count := range wrong {
		row.wrong = append(row.wrong, fmt.Sprintf("%s (%d times)", what, count))
	}
	return row
}

// losses are checks that came to nothing, of so many.
type losses struct {
	checks int
	of     map[string]int
}

func newLosses() *losses { return &losses{of: map[string]int{}} }

// addUnlessFew adds them to what is wrong, unless they are a share that may be.
func (l *losses) addUnlessFew(wrong map[string]int, share float64) {
	sum := 0
	for _, count := range l.of {
		sum += count
	}
	if float64(sum) <= share*float64(l.checks) {
		return
	}
	for what, count := range l.of {
		wrong[what] += count
	}
}
