package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// soak keeps all kinds of checks going on one server, with a rotation of the issuer's key and of the secret and a fault
// each minute, and wants memory flat.
func (r *rig) soak(duration time.Duration, report *report) error {
	secrets := filepath.Join(r.folder, "secrets")
	if err := r.rotateSecret(secrets); err != nil {
		return err
	}
	r.server.Stop()
	var err error
	// Better Auth's own secret is a former one, which its cookies still count by. What may be remembered is, after a
	// minute, so that memory has no reason to grow from then on.
	if r.server, err = r.startServer("soaked", "BETTER_AUTH_SECRET=", "BETTER_AUTH_SECRETS_FILE="+secrets,
		"EXTAUTHZ_FORMER_SECRETS=sessions",
		"EXTAUTHZ_REMEMBERED_TOKENS=10000"); err != nil {
		return err
	}
	faults := r.faults()
	var usable []fault
	for _, f := range faults {
		if f.settings == nil {
			usable = append(usable, f)
		}
	}
	began := time.Now()
	var first, last float64 // MiB
	for i := 0; time.Since(began) < duration && r.ctx.Err() == nil; i++ {
		minute := time.Now()
		if err := errors.Join(r.people[0].renew(r.issuer.url), r.issuer.rotateKey(), r.rotateSecret(secrets),
			r.awaitBoth()); err != nil {
			return err
		}
		f := usable[i%len(usable)]
		if err := r.runFault(&f, report); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := r.calm(time.Until(minute.Add(time.Minute)), report); err != nil {
			return err
		}
		last = r.server.metric("process_resident_memory_bytes", "") / (1 << 20)
		if time.Since(began) < duration/2 {
			first = max(first, last) // until the collector has found its pace
		}
		fmt.Printf("%4.0f min: %.0f MiB resident, %.0f goroutines, %.0f keys after %d rotations\n",
			time.Since(began).Minutes(), last,
			r.server.metric("go_goroutines", ""), r.server.metric("extauthz_jwks_keys", ""), i+1)
	}
	if last > first+32 {
		report.note("soak", []string{fmt.Sprintf("%.0f MiB resident at the end, at most %.0f in its first half", last,
			first)})
	}
	return nil
}

// rotateSecret makes another secret the current one. Better Auth's own stays the only former one.
func (r *rig) rotateSecret(file string) error {
	version := serial.Add(1)
	next := fmt.Sprint(secret, "-", version)
	if err := os.WriteFile(file+".new", []byte(fmt.Sprintf("%d:%s,1:%s", version+1, next, secret)), 0o600); err != nil {
		return err
	}
	r.issuer.rotateSecret(next)
	return os.Rename(file+".new", file)
}

// awaitBoth waits until the server has taken up the current secret and the current key: with made-up kids beside it,
// a new key is known within a few seconds and not at once.
func (r *rig) awaitBoth() error {
	c, err := dial(r.server.checks, nil)
	if err != nil {
		return err
	}
	defer c.connection.Close()
	for what, issue := range map[string]func() string{
		"secret": r.issuer.issueCurrentHS256, "key": func() string { return r.issuer.issueCurrent(nil) },
	} {
		deadline := time.Now().Add(20 * time.Second)
		for a := c.check(r.ctx, bearer(issue())); a.status != 200; a = c.check(r.ctx, bearer(issue())) {
			if time.Now().After(deadline) {
				return fmt.Errorf("the new %s is not taken up: %d %s %v", what, a.status, a.reason, a.err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// calm is load without a fault, in which nothing may fail.
func (r *rig) calm(duration time.Duration, report *report) error {
	c, err := dial(r.server.checks, nil)
	if err != nil {
		return err
	}
	defer c.connection.Close()
	l := startLoad(r.ctx, c, r.probes())
	began := time.Now()
	time.Sleep(max(duration, time.Second))
	l.end()
	row := r.judge(&fault{name: "calm", of: "nothing at all"}, l, began, began, began)
	report.note("calm", row.wrong)
	if len(row.wrong) > 0 {
		fmt.Println(r.server.LogEnd())
	}
	return nil
}
