// Package reload puts changed settings in force while the server runs: whole, or not at all. It imports settings,
// naming and discreet, and does not know where settings are read or who uses them.
package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/settings"
	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

const (
	// settleTime is how long files must stay the same before a change of them counts: several are seldom written at
	// once, and a file that is written in place is half written for a moment.
	settleTime = 250 * time.Millisecond
	// MaxSettling bounds how long a change that goes on is waited for; the next look begins anew.
	MaxSettling = 20 * settleTime
)

// Lines of the log.
const (
	logUnusable = "the changed settings cannot be used; the earlier ones stay in force"
	logWaiting  = "changed settings need a restart; " +
		"until then the earlier settings stay in force"
)

// Reloader puts changed settings in force while the server runs. A change takes effect whole, or is refused whole and
// told once: what names a setting that waits for a restart changes nothing, so that nobody runs with half of what was
// written. Meanwhile the files of secrets that the settings in force name are followed, so that a rotation never
// waits.
type Reloader struct {
	read    func() (*settings.Settings, error) // reads flags, environment and files anew
	Replace func(extauthz.Secrets)             // has the secrets used from now on
	// SetIssuers has the issuers of a list used from now on, or refuses them whole.
	SetIssuers func([]extauthz.IssuerConfig) error
	level      *slog.LevelVar
	log        *slog.Logger

	inForce atomic.Pointer[settings.Settings] // never changed, only replaced, and by look alone

	refused, refusedSecrets string // what was told last, so that it is told once; look's alone
}

// New begins with the settings that the server starts with.
func New(
	s *settings.Settings, read func() (*settings.Settings, error), level *slog.LevelVar, log *slog.Logger,
) *Reloader {
	r := &Reloader{read: read, level: level, log: log}
	r.inForce.Store(s)
	level.Set(s.LogLevel)
	return r
}

// ReadDatabaseURL reads the file of the settings in force.
func (r *Reloader) ReadDatabaseURL() (string, error) {
	return r.inForce.Load().Config.ReadDatabaseURL()
}

// ReadRedisURL reads the file of the settings in force.
func (r *Reloader) ReadRedisURL() (string, error) { return r.inForce.Load().Config.ReadRedisURL() }

// HasFiles tells whether there is anything that can change by itself.
func (r *Reloader) HasFiles() bool {
	s := r.inForce.Load()
	return s.HasFiles || s.ValueOf("EXTAUTHZ_CONFIG") != ""
}

// Outcome is what a look came to.
type Outcome string

const (
	outcomeUnchanged Outcome = "unchanged"
	outcomeChanged   Outcome = "changed"
	outcomeRefused   Outcome = "refused, the earlier settings stay"
)

// Again has a refusal told once more.
func (r *Reloader) Again() { r.refused, r.refusedSecrets = "", "" }

// Look reads the settings and puts in force what has changed. One goroutine calls it.
func (r *Reloader) Look(ctx context.Context) Outcome {
	inForce := r.inForce.Load()
	fresh, err := r.settled(ctx, inForce.Fingerprint(), r.read)
	switch {
	case errors.Is(err, errUnsettled):
		return outcomeUnchanged
	case err != nil:
		return r.refuse(ctx, err.Error(), logUnusable, "error", discreet.Error(err))
	}
	if waiting, changes := settings.WaitingForRestart(inForce, fresh); len(waiting) > 0 {
		return r.refuse(ctx, changes, logWaiting, "settings", waiting)
	}
	if err := inForce.CheckSecretsStay(fresh); err != nil {
		return r.refuse(ctx, err.Error(), logUnusable, "error", discreet.Error(err))
	}
	if path := "DATABASE_URL_FILE"; fresh.ValueOf(path) != inForce.ValueOf(path) {
		if err := operator.CheckDatabaseURL(fresh.Config.DatabaseURL); err != nil {
			err = naming.Fault(fresh, &extauthz.ConfigError{Field: "DatabaseURL", Fault: err.Error()})
			return r.refuse(ctx, err.Error(), logUnusable, "error", discreet.Error(err))
		}
	}
	if path := "REDIS_URL_FILE"; fresh.ValueOf(path) != inForce.ValueOf(path) {
		if err := operator.CheckRedisURL(fresh.Config.RedisURL); err != nil {
			err = naming.Fault(fresh, &extauthz.ConfigError{Field: "RedisURL", Fault: err.Error()})
			return r.refuse(ctx, err.Error(), logUnusable, "error", discreet.Error(err))
		}
	}
	if err := r.replaceIssuers(inForce, fresh); err != nil {
		return r.refuse(ctx, err.Error(), logUnusable, "error", discreet.Error(err))
	}
	wasRefused := r.refused != ""
	r.Again()
	if fresh.Fingerprint() == inForce.Fingerprint() {
		if wasRefused {
			r.log.Info("the settings are again those in use")
		}
		return outcomeUnchanged
	}
	if !r.apply(fresh) {
		return outcomeUnchanged
	}
	return outcomeChanged
}

// refuse tells it, once for each key, and follows the secrets of the settings in force.
func (r *Reloader) refuse(ctx context.Context, key, message string, details ...any) Outcome {
	if r.refused != key {
		r.refused = key
		r.log.Warn(message, details...)
	}
	inForce := r.inForce.Load()
	fresh, err := r.settled(ctx, inForce.Fingerprint(), inForce.RereadSecrets)
	switch {
	case errors.Is(err, errUnsettled):
	case err != nil:
		if r.refusedSecrets != err.Error() {
			r.refusedSecrets = err.Error()
			if !strings.Contains(key, err.Error()) {
				r.log.Warn("the secrets of the settings in force cannot be read; the earlier ones stay",
					"error", discreet.Error(err))
			}
		}
	default:
		r.refusedSecrets = ""
		if fresh.Fingerprint() != inForce.Fingerprint() {
			if err := r.replaceIssuers(inForce, fresh); err == nil {
				r.apply(fresh)
			}
		}
	}
	return outcomeRefused
}

// replaceIssuers puts a changed list of issuers in force, whole or not at all.
func (r *Reloader) replaceIssuers(inForce, fresh *settings.Settings) error {
	if fresh.Issuers == nil || settings.SameIssuers(inForce, fresh) {
		return nil
	}
	if err := r.SetIssuers(fresh.Config.Several); err != nil {
		return naming.Fault(fresh, err)
	}
	return nil
}

// apply puts the settings in force, and tells whether more of them has changed than how they are written.
func (r *Reloader) apply(fresh *settings.Settings) bool {
	earlier := r.inForce.Load()
	changed := settings.Changed(earlier, fresh)
	if !settings.SameSecrets(fresh, earlier) {
		changed = append(changed, "secrets")
		r.Replace(extauthz.Secrets{Current: fresh.Config.Secret, Former: fresh.Config.FormerSecrets,
			FormerForHS256: fresh.Config.FormerForHS256, FormerForSessions: fresh.Config.FormerForSessions})
		WarnOfShortSecret(r.log, fresh)
	}
	r.inForce.Store(fresh)
	r.level.Set(fresh.LogLevel)
	if len(changed) == 0 {
		return false
	}
	r.log.Info("settings changed", "settings", changed, "former", len(fresh.Config.FormerSecrets))
	return true
}

var errUnsettled = errors.New("the files keep changing")

// settled reads until two readings, with settleTime between, are the same. What is as it was needs no second one.
func (r *Reloader) settled(
	ctx context.Context, known string, read func() (*settings.Settings, error),
) (*settings.Settings, error) {
	s, err := guarded(read)
	if err == nil && s.Fingerprint() == known {
		return s, nil
	}
	for begun := time.Now(); time.Since(begun) < MaxSettling; {
		select {
		case <-ctx.Done():
			return nil, errUnsettled
		case <-time.After(settleTime):
		}
		again, errAgain := guarded(read)
		switch {
		case err == nil && errAgain == nil && s.Fingerprint() == again.Fingerprint(),
			err != nil && errAgain != nil && err.Error() == errAgain.Error():
			return again, errAgain
		}
		s, err = again, errAgain
	}
	return nil, errUnsettled
}

// guarded makes a fault of the reader's, on a file that somebody is writing, an error like any other.
func guarded(read func() (*settings.Settings, error)) (s *settings.Settings, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s, err = nil, fmt.Errorf("reading the settings fails: %T", fault) // its text may hold what was read
		}
	}()
	return read()
}

// WarnOfShortSecret logs that the secret is shorter than HS256 wants.
func WarnOfShortSecret(log *slog.Logger, s *settings.Settings) {
	for _, i := range s.Each() {
		if length := len(i.Config.Secret); length > 0 && length < 32 {
			log := log
			if i.Name != "" {
				log = log.With("issuer", i.Name)
			}
			log.Warn("BETTER_AUTH_SECRET is shorter than the 32 bytes that HS256 requires (RFC 7518 section 3.2)")
		}
	}
}
