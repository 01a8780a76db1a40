package extauthz

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"extauthz/extauthz/internal/bubble"
	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/decide"
	"extauthz/extauthz/internal/decision"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/keyset"
	"extauthz/extauthz/internal/keyset/jwks"
	"extauthz/extauthz/internal/verified"
)

// span is when something was so; a zero end is still.
type span struct{ from, to time.Time }

// modelIssuer is an issuer whose keys come and go, that is down at times, and that remembers all of it.
type modelIssuer struct {
	mu      sync.Mutex
	random  *rand.Rand
	keys    []signer
	listed  [][]span // of each key
	down    []span
	brought []brought
}

// brought is the keys that a fetch brought, and when.
type brought struct {
	at   time.Time
	keys []bool // whether each of the issuer's is listed
}

// inForce tells whether a key set that lists the key was in force at any moment between: the last one that was brought
// before, and those that were brought meanwhile. What happens in one instant happens in some order.
func (m *modelIssuer) inForce(key int, from, to time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.brought) - 1; i >= 0; i-- {
		b := m.brought[i]
		if !b.at.After(to) && b.keys[key] {
			return true
		}
		if b.at.Before(from) {
			break
		}
	}
	return false
}

func isOpen(spans []span) bool { return len(spans) > 0 && spans[len(spans)-1].to.IsZero() }

// toggle begins a span now, or ends the one that is open.
func toggle(spans []span) []span {
	if isOpen(spans) {
		spans[len(spans)-1].to = time.Now()
		return spans
	}
	return append(spans, span{from: time.Now()})
}

// overlaps tells whether any of the spans has a moment in common with the time between.
func overlaps(spans []span, from, to time.Time) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from)) })
}

// covers tells whether one of the spans holds all of the time between, and more: what happens in one instant happens in some order.
func covers(spans []span, from, to time.Time) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from.Before(from) && (s.to.IsZero() || s.to.After(to)) })
}

// RoundTrip answers with the keys as they are at a moment between the fetch's begin and its end.
func (m *modelIssuer) RoundTrip(*http.Request) (*http.Response, error) {
	m.mu.Lock()
	before, after := time.Duration(m.random.IntN(60))*time.Millisecond, time.Duration(m.random.IntN(60))*time.Millisecond
	m.mu.Unlock()
	time.Sleep(before)
	m.mu.Lock()
	isDown := isOpen(m.down)
	var listed []map[string]any
	keys := make([]bool, len(m.keys))
	for i, key := range m.keys {
		if keys[i] = isOpen(m.listed[i]); keys[i] {
			listed = append(listed, key.jwk(nil))
		}
	}
	m.mu.Unlock()
	time.Sleep(after)
	if isDown {
		return httpAnswer(http.StatusBadGateway, nil), nil
	}
	m.mu.Lock()
	m.brought = append(m.brought, brought{time.Now(), keys})
	m.mu.Unlock()
	answer := &fakeIssuer{keys: append([]map[string]any{}, listed...)}
	return answer.RoundTrip(nil)
}

// modelSecrets are the shared secrets' times in force.
type modelSecrets struct {
	mu      sync.Mutex
	values  []string
	current [][]span
}

// In made-up time, with keys that are published and withdrawn, secrets that rotate, an issuer that is slow and down, and a memory that is
// too small, each answer is held against what was true while its check ran:
// an expired token is never allowed; a withdrawn key's never once a fetch has come without it, remembered or not, nor once a refresh was due;
// a former secret's never at all; and what was valid all the while is allowed, or answered with 503, and never called invalid.
func TestNoInterleavingAllowsWhatIsGone(t *testing.T) {
	histories, allowed, refused, outages := sized(60, 15), 0, 0, 0
	if testing.Short() {
		histories = 10
	}
	var mu sync.Mutex
	for range histories {
		seed := rand.Uint64()
		bubble.Test(t, func(t *testing.T) {
			runHistory(t, seed, func(a, r, o int) {
				mu.Lock()
				defer mu.Unlock()
				allowed, refused, outages = allowed+a, refused+r, outages+o
			})
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d histories: %d checks allowed, %d refused, %d answered with 503", histories, allowed, refused, outages)
	if allowed == 0 || refused == 0 || outages == 0 {
		t.Error("the histories do not reach every outcome")
	}
}

func runHistory(t *testing.T, seed uint64, count func(allowed, refused, outages int)) {
	random := rand.New(rand.NewPCG(seed, 1))
	fake := &modelIssuer{random: rand.New(rand.NewPCG(seed, 2)), listed: make([][]span, 4)}
	for i := range fake.listed {
		key := signers()[[]string{"ed", "stranger", "es256", "ed"}[i]]
		key.id = fmt.Sprint("key-", i)
		fake.keys = append(fake.keys, key)
		fake.listed[i] = toggle(nil)
	}
	secrets := &modelSecrets{values: []string{"secret-0", "secret-1"}, current: make([][]span, 2)}
	secrets.current[0] = toggle(nil)
	a := runAuthorizer(t, Config{JWKSURL: "https://issuer.test/jwks", Client: &http.Client{Transport: fake}, Secret: []byte(secrets.values[0]),
		Now: time.Now, budget: decide.TimeBudget, RememberedTokens: verified.Shards})
	time.Sleep(time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { // what happens
		for ctx.Err() == nil {
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			fake.mu.Lock()
			switch what := random.IntN(6); {
			case what < 4:
				fake.listed[what] = toggle(fake.listed[what])
				fake.mu.Unlock()
				if random.IntN(2) == 0 {
					a.Refresh()
				}
			case what == 4:
				fake.down = toggle(fake.down)
				fake.mu.Unlock()
			default:
				fake.mu.Unlock()
				secrets.mu.Lock()
				next := 0
				if isOpen(secrets.current[0]) {
					next = 1
				}
				// The new one counts from somewhere within the call on, and the old one until then.
				secrets.current[next] = toggle(secrets.current[next])
				a.SetSecrets([]byte(secrets.values[next]), [][]byte{[]byte(secrets.values[1-next])})
				secrets.current[1-next] = toggle(secrets.current[1-next])
				secrets.mu.Unlock()
			}
		}
	})
	for client := range 4 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(10+client)))
			type held struct {
				text    string
				key     int // of the issuer's, or 4 and more of the secrets
				expires time.Time
			}
			var tokens []held
			allowed, refused, outages := 0, 0, 0
			defer func() { count(allowed, refused, outages) }()
			for ctx.Err() == nil {
				if len(tokens) < 12 || random.IntN(10) == 0 {
					h := held{key: random.IntN(6), expires: time.Now().Truncate(time.Second).Add(time.Duration(5+random.IntN(100)) * time.Second)}
					claims := goodClaims(map[string]any{"iat": time.Now().Unix(), "exp": h.expires.Unix(), "jti": fmt.Sprint(random.Uint64())})
					if h.key < 4 {
						h.text = fake.keys[h.key].issue(claims)
					} else {
						h.text = jwtOf(object(member("alg", "HS256")), claims, hmacOf(secrets.values[h.key-4]))
					}
					if tokens = append(tokens, h); len(tokens) > 24 {
						tokens = tokens[1:]
					}
				}
				h := tokens[random.IntN(len(tokens))]
				began := time.Now()
				d := judgeOne(t, a, h.text, false)
				ended := time.Now()
				leeway := issuer.Leeway
				if h.key >= 4 {
					leeway = 0
				}
				end := h.expires.Add(leeway)
				outcome := d.Outcome()
				switch outcome {
				case decision.Allow:
					allowed++
					if !began.Before(end) {
						t.Errorf("an expired token is allowed, %s after its end", began.Sub(end))
					}
				case decision.Deny:
					refused++
				default:
					outages++
				}
				if h.key >= 4 {
					secrets.mu.Lock()
					current := slices.Clone(secrets.current[h.key-4])
					secrets.mu.Unlock()
					switch {
					case outcome == decision.Allow && !overlaps(current, began, ended):
						t.Errorf("a token by a secret that was not in force is allowed")
					case outcome != decision.Allow && ended.Before(end) && covers(current, began, ended):
						t.Errorf("a valid HS256 token is refused: %v", d.Denial)
					}
				} else {
					fake.mu.Lock()
					listed, down := slices.Clone(fake.listed[h.key]), slices.Clone(fake.down)
					fake.mu.Unlock()
					// The issuer's word is at most a refresh old, and older by the time that it was down.
					oldest := began.Add(-keyset.RefreshInterval - jwks.Timeout - keyset.RetryInterval)
					for i := len(down) - 1; i >= 0; i-- {
						if down[i].to.IsZero() || !down[i].to.Before(oldest) {
							oldest = down[i].from.Add(-keyset.RefreshInterval - jwks.Timeout - keyset.RetryInterval)
						}
					}
					switch {
					case outcome == decision.Allow && !fake.inForce(h.key, began, ended):
						t.Errorf("a token by %s is allowed, which the key set in force did not have", fake.keys[h.key].id)
					case outcome == decision.Allow && !overlaps(listed, oldest, ended):
						t.Errorf("a token by %s is allowed, which was withdrawn long ago", fake.keys[h.key].id)
					case outcome == decision.Deny && ended.Before(end) && covers(listed, began, ended):
						t.Errorf("a valid token by %s is refused: %v", fake.keys[h.key].id, d.Denial)
					case outcome == decision.Unavailable && !overlaps(down, began.Add(-jwks.Timeout), ended) && d.Denial.Reason() != ReasonTimeBudgetSpent:
						t.Errorf("503 %v while the issuer answers", d.Denial)
					}
				}
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
			}
		})
	}
	time.Sleep(3 * time.Minute)
	cancel()
	work.Wait()
}

// On real PostgreSQL, with connections that are cut under it and checks of other tokens that share the queries: a session that was
// deleted before its check began is never allowed, one that lives all the while is never called invalid, and nobody gets another's name.
func TestNoInterleavingAllowsADeletedSession(t *testing.T) {
	const workers, rounds = 16, 40
	dsn := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	judge := func(token string) decision.Decision { return judgeOne(t, a, token, false) }
	var work, cutting sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	cuts := int64(0)
	cutting.Go(func() { // cut what is open, now and then
		connection, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close(context.Background())
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
			tag, err := connection.Exec(context.Background(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'extauthz'`)
			if err != nil {
				t.Error(err)
			}
			cuts += tag.RowsAffected()
		}
	})
	var allowed, refused, outages atomic.Int64
	for worker := range workers {
		work.Go(func() {
			connection, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Error(err)
				return
			}
			defer connection.Close(context.Background())
			run := func(statement string, arguments ...any) {
				if _, err := connection.Exec(t.Context(), statement, arguments...); err != nil {
					t.Error(err)
				}
			}
			user := fmt.Sprint("worker-", worker)
			run(`insert into "user" ("id", "name", "email", "emailVerified") values ($1, $1, $1, true)`, user)
			for round := range rounds {
				token := fmt.Sprintf("token-%d-%d", worker, round)
				run(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ($1, to_timestamp($2), $1, now(), $3)`, token, float64(in(3600)), user)
				var deleting, gone atomic.Bool
				var racers sync.WaitGroup
				look := func() {
					wasGone := gone.Load()
					d := judge(token)
					switch d.Outcome() {
					case decision.Allow:
						allowed.Add(1)
						if wasGone {
							t.Errorf("%s is allowed after it was deleted", token)
						}
						if d.Identity.Subject != user {
							t.Errorf("%s is %s's, not %s's", token, user, d.Identity.Subject)
						}
					case decision.Deny:
						refused.Add(1)
						if !deleting.Load() && d.Denial.Reason() == ReasonUnknownSession {
							t.Errorf("%s is called unknown while it lives", token)
						}
					default:
						outages.Add(1)
					}
				}
				for range 3 {
					racers.Go(func() {
						for range 4 {
							look()
						}
					})
				}
				look()
				deleting.Store(true) // it may be gone from here on
				run(`delete from "session" where "token" = $1`, token)
				gone.Store(true)
				look()
				racers.Wait()
			}
		})
	}
	work.Wait()
	cancel()
	cutting.Wait()
	t.Logf("%d allowed, %d refused, %d answered with 503, %d connections cut", allowed.Load(), refused.Load(), outages.Load(), cuts)
	if allowed.Load() == 0 || refused.Load() == 0 || cuts == 0 {
		t.Error("not all of it happened")
	}
}

// While the server stops, a check in flight is answered: allowed when it is valid, or with 503, and never allowed when it is not.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	dsn := sessionsDatabase(t)
	config := Config{Issuer: testIssuer, Audiences: []string{testAudience}, JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Now: fixedClock, budget: 2 * time.Second,
		Logger: slog.New(slog.DiscardHandler)}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { a.Run(ctx); close(stopped) }()
	eventually(t, "readiness", func() bool { return len(a.Missing()) == 0 })
	var work sync.WaitGroup
	ed := signers()["ed"]
	made := signer{"EdDSA", "made-up", ed.private}
	for i, row := range []struct {
		token string
		valid bool
	}{{liveToken, true}, {unknownToken, false}, {ed.issue(goodClaims(nil)), true}, {made.issue(goodClaims(nil)), false}} {
		for range 16 {
			work.Go(func() {
				for {
					d := judgeOne(t, a, row.token, false)
					switch outcome := d.Outcome(); {
					case outcome == decision.Allow && !row.valid:
						t.Errorf("%d is allowed", i)
					case outcome == decision.Deny && row.valid:
						t.Errorf("%d is refused: %v", i, d.Denial)
					}
					select {
					case <-stopped:
						return
					default:
					}
				}
			})
		}
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	work.Wait()
	if d := judgeOne(t, a, liveToken, false); d.Outcome() != decision.Unavailable {
		t.Errorf("a session after the stop: %v, want 503", d.Denial)
	}
}

// Of 64 clients that check all at once, each by its own credential and through the codec, the memory and the shared queries, each gets its own
// identity to the byte. The memory is too small for all, so that tokens are forgotten and verified anew meanwhile.
func TestIdentitiesNeverMix(t *testing.T) {
	const clients, sessions = 64, 8
	identityChecks := sized[int64](10_000_000, 250_000)
	dsn := sessionsDatabase(t)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: dsn, RememberedTokens: verified.Shards, budget: time.Minute})
	check := func(message []byte) ([]byte, error) {
		answered, err := handleCheck(a, withMessage(t.Context(), message), nil, nil)
		if err != nil {
			return nil, err
		}
		return answered.(*checkwire.Answer).Encoded, nil
	}
	decode := func(encoded []byte) (*authv3.CheckResponse, error) {
		response := &authv3.CheckResponse{}
		return response, proto.Unmarshal(encoded, response)
	}
	type client struct {
		user          string
		message, want []byte
	}
	var known []client
	for i := range clients { // what each is to get is known before any of them may stand in another's way
		user := fmt.Sprintf("client-%02d", i)
		var token string
		switch {
		case i < sessions:
			token = "token-of-" + user
			execute(t, dsn, fmt.Sprintf(`insert into "user" ("id", "name", "email", "emailVerified") values ('%[1]s', '%[1]s', '%[1]s', true)`, user),
				fmt.Sprintf(`insert into "session" ("id", "expiresAt", "token", "updatedAt", "userId") values ('%[1]s', to_timestamp(%[2]d), '%[1]s', now(), '%[3]s')`, token, in(3600), user))
		case i%2 == 0:
			token = hs256(goodClaims(map[string]any{"sub": user, "email": user, "name": user}))
		default:
			token = signers()["ed"].issue(goodClaims(map[string]any{"sub": user, "email": user, "name": user}))
		}
		message, err := proto.Marshal(bearerRequest(token))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		response := decided(t, func() (*authv3.CheckResponse, error) {
			var err error
			if want, err = check(message); err != nil {
				return nil, err
			}
			return decode(want)
		})
		for _, name := range []string{"user_id", "user_email", "user_name"} {
			if got := response.GetDynamicMetadata().GetFields()[name].GetStringValue(); got != user {
				t.Fatalf("%s: %s is %q in %v", user, name, got, response)
			}
		}
		known = append(known, client{user, message, bytes.Clone(want)})
	}
	var answered, shed, undecided atomic.Int64
	var work sync.WaitGroup
	for _, c := range known {
		work.Go(func() {
			last := time.Now() // of this client's verdicts
			for answered.Load() < identityChecks {
				got, err := check(c.message)
				if err == nil && bytes.Equal(got, c.want) {
					answered.Add(1)
					last = time.Now()
					continue
				}
				var response *authv3.CheckResponse
				if err == nil {
					response, err = decode(got)
				}
				switch reason := reasonIn(response); {
				case err != nil:
					t.Error(err)
					return
				case !isOutage(reason):
					t.Errorf("%s got %q, want %q", c.user, got, c.want)
					return
				case reason == ReasonOverloaded: // 64 that never rest leave no turn for a signature that was forgotten
					shed.Add(1)
				default: // nobody's identity: it is asked again
					if undecided.Add(1) <= 10 {
						t.Logf("%s: 503 %s, asked again; %s", c.user, reason, outages.last())
					}
				}
				if time.Since(last) > time.Minute {
					t.Errorf("%s has had no verdict for a minute; %s", c.user, outages.last())
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	work.Wait()
	evicted := a.memory.Stats().Evicted
	t.Logf("%d checks by %d clients; remembered tokens gave way %d times, %d more were shed and %d answered with another 503", answered.Load(), clients, evicted, shed.Load(), undecided.Load())
	if evicted == 0 {
		t.Error("no token was forgotten meanwhile")
	}
}
