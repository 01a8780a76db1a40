package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"extauthz/extauthz"
)

const (
	// reloadInterval is how often the files are looked at. In Kubernetes a ConfigMap or a Secret reaches its pods
	// within a minute or so, by a symlink that is moved.
	reloadInterval = 1500 * time.Millisecond
	// settleTime is how long files must stay the same before a change of them counts: several are seldom written at
	// once, and a file that is written in place is half written for a moment.
	settleTime = 250 * time.Millisecond
	// maxSettling bounds how long a change that goes on is waited for; the next look begins anew.
	maxSettling = 20 * settleTime
)

// Lines of the log.
const (
	logReloaded = "SIGHUP: done" // ends what SIGHUP began
	logUnusable = "the changed settings cannot be used; the earlier ones stay in force"
	logWaiting  = "changed settings wait for a restart; " +
		"nothing of the change is in force until then, the earlier settings stay"
)

// The settings that can change at run time. Of DATABASE_URL_FILE that is the path; what stands in the file is read
// anew for each connection. Every other setting waits for a restart.
var (
	secretSettings = []string{"BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_FILE", "BETTER_AUTH_SECRETS",
		"BETTER_AUTH_SECRETS_FILE", "EXTAUTHZ_FORMER_SECRETS"}
	liveSettings = append([]string{"DATABASE_URL_FILE", "EXTAUTHZ_LOG_LEVEL"}, secretSettings...)
)

// reloader puts changed settings in force while the server runs. A change takes effect whole, or is refused whole and
// told once: what names a setting that waits for a restart changes nothing, so that nobody runs with half of what was
// written. Meanwhile the files of secrets that the settings in force name are followed, so that a rotation never
// waits.
type reloader struct {
	read    func() (*settings, error) // reads flags, environment and files anew
	replace func(extauthz.Secrets)
	level   *slog.LevelVar
	log     *slog.Logger

	inForce atomic.Pointer[settings] // never changed, only replaced, and by look alone

	refused, refusedSecrets string // what was told last, so that it is told once; look's alone
}

// newReloader begins with the settings that the server starts with.
func newReloader(s *settings, read func() (*settings, error), level *slog.LevelVar, log *slog.Logger) *reloader {
	r := &reloader{read: read, level: level, log: log}
	r.inForce.Store(s)
	level.Set(s.logLevel)
	return r
}

// readDatabaseURL reads the file of the settings in force.
func (r *reloader) readDatabaseURL() (string, error) {
	return r.inForce.Load().config.ReadDatabaseURL()
}

// hasFiles tells whether there is anything that can change by itself.
func (r *reloader) hasFiles() bool {
	s := r.inForce.Load()
	return s.hasFiles || s.valueOf("EXTAUTHZ_CONFIG") != ""
}

// outcome is what a look came to.
type outcome string

const (
	outcomeUnchanged outcome = "unchanged"
	outcomeChanged   outcome = "changed"
	outcomeRefused   outcome = "refused, the earlier settings stay"
)

// again has a refusal told once more.
func (r *reloader) again() { r.refused, r.refusedSecrets = "", "" }

// look reads the settings and puts in force what has changed. One goroutine calls it.
func (r *reloader) look(ctx context.Context) outcome {
	inForce := r.inForce.Load()
	fresh, err := r.settled(ctx, inForce.fingerprint(), r.read)
	switch {
	case errors.Is(err, errUnsettled):
		return outcomeUnchanged
	case err != nil:
		return r.refuse(ctx, err.Error(), logUnusable, "error", discreetError(err))
	}
	if waiting, changes := waitingForRestart(inForce, fresh); len(waiting) > 0 {
		return r.refuse(ctx, changes, logWaiting, "settings", waiting)
	}
	if len(inForce.config.Secret) > 0 && len(fresh.config.Secret) == 0 {
		err := errors.New("there is no secret any more, which would turn off HS256 tokens and session cookies; " +
			"restart to do without one")
		return r.refuse(ctx, err.Error(), logUnusable, "error", discreetError(err))
	}
	if path := "DATABASE_URL_FILE"; fresh.valueOf(path) != inForce.valueOf(path) {
		if err := extauthz.CheckDatabaseURL(fresh.config.DatabaseURL); err != nil {
			err = fresh.configFault(err)
			return r.refuse(ctx, err.Error(), logUnusable, "error", discreetError(err))
		}
	}
	wasRefused := r.refused != ""
	r.again()
	if fresh.fingerprint() == inForce.fingerprint() {
		if wasRefused {
			r.log.Info("the settings are again those in force")
		}
		return outcomeUnchanged
	}
	if !r.apply(fresh) {
		return outcomeUnchanged
	}
	return outcomeChanged
}

// refuse tells it, once for each key, and follows the secrets of the settings in force.
func (r *reloader) refuse(ctx context.Context, key, message string, details ...any) outcome {
	if r.refused != key {
		r.refused = key
		r.log.Warn(message, details...)
	}
	inForce := r.inForce.Load()
	fresh, err := r.settled(ctx, inForce.fingerprint(), inForce.rereadSecrets)
	switch {
	case errors.Is(err, errUnsettled):
	case err != nil:
		if r.refusedSecrets != err.Error() {
			r.refusedSecrets = err.Error()
			if !strings.Contains(key, err.Error()) {
				r.log.Warn("the secrets of the settings in force cannot be read anew; the earlier ones stay",
					"error", discreetError(err))
			}
		}
	default:
		r.refusedSecrets = ""
		if fresh.fingerprint() != inForce.fingerprint() {
			r.apply(fresh)
		}
	}
	return outcomeRefused
}

// apply puts the settings in force, and tells whether more of them has changed than how they are written.
func (r *reloader) apply(fresh *settings) bool {
	earlier := r.inForce.Load()
	var changed []string
	for i := range fresh.origins {
		before, after := &earlier.origins[i], &fresh.origins[i]
		// Another path is told also where both files hold the same.
		if before.value != after.value && (slices.Contains(liveSettings, after.variable) || !before.means(after)) {
			changed = append(changed, after.variable)
		}
	}
	if !sameSecrets(fresh, earlier) {
		changed = append(changed, "secrets")
		r.replace(extauthz.Secrets{Current: fresh.config.Secret, Former: fresh.config.FormerSecrets,
			FormerForHS256: fresh.config.FormerForHS256, FormerForSessions: fresh.config.FormerForSessions})
		warnOfShortSecret(r.log, fresh)
	}
	r.inForce.Store(fresh)
	r.level.Set(fresh.logLevel)
	if len(changed) == 0 {
		return false
	}
	r.log.Info("settings changed", "settings", changed, "former", len(fresh.config.FormerSecrets))
	return true
}

var errUnsettled = errors.New("the files go on changing")

// settled reads until two readings, with settleTime between, are the same. What is as it was needs no second one.
func (r *reloader) settled(ctx context.Context, known string, read func() (*settings, error)) (*settings, error) {
	s, err := guarded(read)
	if err == nil && s.fingerprint() == known {
		return s, nil
	}
	for begun := time.Now(); time.Since(begun) < maxSettling; {
		select {
		case <-ctx.Done():
			return nil, errUnsettled
		case <-time.After(settleTime):
		}
		again, errAgain := guarded(read)
		switch {
		case err == nil && errAgain == nil && s.fingerprint() == again.fingerprint(),
			err != nil && errAgain != nil && err.Error() == errAgain.Error():
			return again, errAgain
		}
		s, err = again, errAgain
	}
	return nil, errUnsettled
}

// guarded makes a fault of the reader's, on a file that somebody is writing, an error like any other.
func guarded(read func() (*settings, error)) (s *settings, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s, err = nil, fmt.Errorf("reading the settings fails: %T", fault) // its text may hold what was read
		}
	}()
	return read()
}

// waitingForRestart names the settings that differ and cannot change at run time. changes identifies the change.
func waitingForRestart(inForce, fresh *settings) (names []string, changes string) {
	for i := range fresh.origins {
		before, after := &inForce.origins[i], &fresh.origins[i]
		if before.means(after) {
			continue
		}
		changes += after.variable + "=" + after.value + "\n"
		turnsOnOrOff := before.variable == "DATABASE_URL_FILE" && (before.value == "") != (after.value == "")
		if turnsOnOrOff || !slices.Contains(liveSettings, before.variable) {
			names = append(names, before.variable)
		}
	}
	// What stands in this file is read at the start alone.
	if file := "JWKS_PROXY_FILE"; inForce.config.JWKSProxy != fresh.config.JWKSProxy && !slices.Contains(names, file) {
		names = append(names, file)
		changes += file + ":" + fresh.config.JWKSProxy + "\n"
	}
	return names, changes
}

// rereadSecrets is the same settings with the secrets as their files hold them now.
func (s *settings) rereadSecrets() (*settings, error) {
	secrets := &settings{}
	for i := range s.origins {
		if slices.Contains(secretSettings, s.origins[i].variable) {
			if err := s.origins[i].readInto(secrets); err != nil {
				return nil, err
			}
		}
	}
	secrets.orderSecrets()
	fresh := *s
	fresh.config.Secret, fresh.config.FormerSecrets = secrets.config.Secret, secrets.config.FormerSecrets
	return &fresh, nil
}

// fingerprint is the same for settings that mean the same; the database's connection string is not in it, since the
// database follows its file itself. It shows nothing of the secrets.
func (s *settings) fingerprint() string {
	sum := sha256.New()
	add := func(value []byte) { fmt.Fprintf(sum, "%d:%s,", len(value), value) }
	for i := range s.origins {
		if s.origins[i].variable != "DATABASE_URL" {
			add([]byte(s.origins[i].value))
		}
	}
	add([]byte(s.config.JWKSProxy))
	add(s.config.Secret)
	for _, former := range s.config.FormerSecrets {
		add(former)
	}
	return string(sum.Sum(nil))
}

// means tells whether two values of one setting mean the same, as 5m and 300s do, or a list in two spellings.
func (o *origin) means(other *origin) bool {
	if o.value == other.value {
		return true
	}
	var one, two settings
	return o.readInto(&one) == nil && other.readInto(&two) == nil && reflect.DeepEqual(one, two)
}

// valueOf is a setting's value as it was given.
func (s *settings) valueOf(variable string) string {
	for i := range s.origins {
		if s.origins[i].variable == variable {
			return s.origins[i].value
		}
	}
	return ""
}

func sameSecrets(a, b *settings) bool {
	return bytes.Equal(a.config.Secret, b.config.Secret) &&
		slices.EqualFunc(a.config.FormerSecrets, b.config.FormerSecrets, bytes.Equal) &&
		a.config.FormerForHS256 == b.config.FormerForHS256 && a.config.FormerForSessions == b.config.FormerForSessions
}

func warnOfShortSecret(log *slog.Logger, s *settings) {
	if length := len(s.config.Secret); length > 0 && length < 32 {
		log.Warn("BETTER_AUTH_SECRET is shorter than 32 bytes, which HS256 asks for (RFC 7518 section 3.2)")
	}
}

// followSettings puts changed settings in force when their files change or on SIGHUP, which also fetches the JWKS and
// opens the audit log anew, until ctx ends.
func (s *servers) followSettings(ctx context.Context, hangup <-chan os.Signal) {
	var tick <-chan time.Time // never, without files
	if s.reloader.hasFiles() {
		ticker := time.NewTicker(reloadInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			s.reloader.look(ctx)
		case <-hangup:
			s.hangup(ctx)
		}
	}
}

// hangup answers SIGHUP.
func (s *servers) hangup(ctx context.Context) {
	s.notifyReloading()
	s.log.Info("SIGHUP: reading the settings, fetching the JWKS, opening the audit log anew")
	s.authorizer.Refresh()
	if s.audit != nil {
		s.audit.reopen()
	}
	s.reloader.again()
	came := s.reloader.look(ctx)
	s.log.Info(logReloaded, "settings", string(came))
	s.notify(daemon.SdNotifyReady)
}
