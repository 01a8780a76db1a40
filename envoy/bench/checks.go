package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

// seenJWT is the cost of a JWT that was seen before, against looking at nothing.
func (b *bench) seenJWT() error {
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz")
	if err != nil {
		return err
	}
	messages := make([]message, 1000)
	for i := range messages {
		messages[i] = encode(b.issuer.token(i))
	}
	r, err := compare(4, 30_000, 64, messages, noOp, product)
	if err != nil {
		return err
	}
	b.noteTarget("JWT seen before, no-op server", r[0])
	b.noteTarget("JWT seen before, extauthz", r[1])
	b.ratio("jwt", "CPU a check, JWT seen before ÷ no-op server", r[1].microseconds()/r[0].microseconds(), "≤ 0.55")
	b.costs.noOp, b.costs.jwt = r[0], r[1]
	return nil
}

func (b *bench) noteTarget(what string, r result) {
	b.note(what, fmt.Sprintf("%.1f µs of CPU a check, %.0f checks/s", r.microseconds(), r.perSecond()), "")
}

const benchSessions = 100_000

// benchTables are the columns of Better Auth's tables that count here, with its indexes.
var benchTables = []string{
	`create table "user" ("id" text primary key, "name" text not null, "email" text not null unique)`,
	`create table "session" ("id" text primary key, "expiresAt" timestamptz not null, "token" text not null unique, "userId" text not null references "user" ("id") on delete cascade)`,
}

// storeSessions adds sessions until there are so many, ten of each user.
func storeSessions(ctx context.Context, connection *pgx.Conn, stored, count int) error {
	for _, statement := range []string{
		fmt.Sprintf(`insert into "user" select 'user' || i, 'Zoë Day', 'user' || i || '@example.com' from generate_series(%d, %d) i`, (stored+9)/10, (count+9)/10-1),
		fmt.Sprintf(`insert into "session" select 's' || i, now() + interval '1 day', lpad(i::text, 32, 'x'), 'user' || i / 10 from generate_series(%d, %d) i`, stored, count-1),
		`vacuum analyze`,
	} {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startPostgres() error {
	if b.postgres != nil {
		return nil
	}
	port, err := parts.FreePort()
	if err != nil {
		return err
	}
	b.postgres, err = b.installer.StartPostgres(b.ctx, b.folder, port)
	return err
}

// newDatabase makes a database with empty tables. The connection is for the caller to close.
func (b *bench) newDatabase(name string) (url string, connection *pgx.Conn, err error) {
	if err := b.startPostgres(); err != nil {
		return "", nil, err
	}
	if url, err = b.postgres.CreateDatabase(b.ctx, name); err != nil {
		return "", nil, err
	}
	if connection, err = pgx.Connect(b.ctx, url); err != nil {
		return "", nil, err
	}
	for _, statement := range benchTables {
		if _, err := connection.Exec(b.ctx, statement); err != nil {
			return "", nil, errors.Join(err, connection.Close(b.ctx))
		}
	}
	return url, connection, nil
}

// startDatabase makes the database with the sessions that most measurements ask for.
func (b *bench) startDatabase() error {
	if b.database != "" {
		return nil
	}
	url, connection, err := b.newDatabase("app")
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	b.database = url
	return storeSessions(b.ctx, connection, 0, benchSessions)
}

func sessionToken(i int) string {
	number := fmt.Sprint(i)
	return strings.Repeat("x", 32-len(number)) + number
}

// sessions is exact session checks, against one query a check and against looking at nothing.
func (b *bench) sessions() error {
	if err := b.startDatabase(); err != nil {
		return err
	}
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	oneQuery, err := b.startPeer(serverOneQuery, "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz-sessions", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	oneQuery.database, product.database = b.postgres.PID(), b.postgres.PID()
	messages := make([]message, benchSessions)
	for i := range messages {
		messages[i] = encode(sessionToken((i * 7919) % benchSessions))
	}
	r, err := compare(4, 30_000, 256, messages, noOp, oneQuery, product)
	if err != nil {
		return err
	}
	b.noteTarget("session, no-op server", r[0])
	b.noteTarget("session, one query a check", r[1])
	b.noteTarget("session, extauthz", r[2])
	b.ratio("sessions", "session checks a second ÷ one query a check", r[2].perSecond()/r[1].perSecond(), "≥ 2.2")
	b.ratio("sessions-cpu", "CPU a session check ÷ no-op server", r[2].microseconds()/r[0].microseconds(), "≤ 0.85")
	b.costs.oneQuery, b.costs.session = r[1], r[2]
	b.note("PostgreSQL's CPU a session check, one query a check", fmt.Sprintf("%.1f µs", r[1].databaseMicroseconds()), "")
	b.note("PostgreSQL's CPU a session check, extauthz", fmt.Sprintf("%.1f µs", r[2].databaseMicroseconds()), "")
	return nil
}

// signOut deletes sessions one by one while others are checked, and counts those that are still allowed afterwards.
func (b *bench) signOut() error {
	product, err := b.startExtauthz("extauthz-sign-out", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	connection, err := pgx.Connect(b.ctx, b.database)
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	loaded := make([]message, 10_000)
	for i := range loaded {
		loaded[i] = encode(sessionToken(i))
	}
	ended := make(chan error, 1)
	go func() {
		_, err := drive(product, 60_000, 128, loaded)
		ended <- err
	}()
	const deleted = 300
	stillAllowed := 0
	if err := storeSessions(b.ctx, connection, benchSessions, benchSessions+deleted); err != nil {
		// those of other measurements stay
		return err
	}
	for i := range deleted {
		token := sessionToken(benchSessions + i)
		one := []message{encode(token)}
		if r, err := drive(product, 1, 1, one); err != nil || r.refused != 0 {
			return fmt.Errorf("a session was refused before it was deleted (%w)", err)
		}
		if _, err := connection.Exec(b.ctx, `delete from "session" where "token" = $1`, token); err != nil {
			return err
		}
		r, err := drive(product, 1, 1, one)
		if err != nil {
			return err
		}
		stillAllowed += 1 - r.refused
	}
	if err := <-ended; err != nil {
		return err
	}
	b.note("sessions deleted under load and still allowed", fmt.Sprintf("%d of %d", stillAllowed, deleted), "0 of 300")
	return nil
}

// distinctTokens is a seen JWT among more and more tokens that are remembered, up to a million, what these
// take, and whether a smaller bound holds.
func (b *bench) distinctTokens() error {
	const most = 1_000_000
	product, err := b.startExtauthz("extauthz-million", "EXTAUTHZ_REMEMBERED_TOKENS=1100000",
		"EXTAUTHZ_REMEMBERED_MIB=704")
	if err != nil {
		return err
	}
	bounded, err := b.startExtauthz("extauthz-bounded", "EXTAUTHZ_REMEMBERED_MIB=64")
	if err != nil {
		return err
	}
	empty, err1 := residentMemory(product.process.PID())
	emptyBounded, err2 := residentMemory(bounded.process.PID())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	c := newCurve("performance-tokens.svg", "A JWT seen before, by the number of tokens in use", perCheck, "tokens",
		result.microseconds, "extauthz")
	var sample []message // of the tokens that are remembered; all of them would need more memory than what is measured
	remembered := 0
	for count := 1; count <= most; count *= 10 {
		for remembered < count {
			fresh := make([]message, min(count-remembered, 50_000))
			for i := range fresh {
				fresh[i] = encode(b.issuer.token(remembered + i))
			}
			for _, t := range []target{product, bounded} {
				if t.name == bounded.name && remembered >= 200_000 {
					break
				}
				if _, err := drive(t, len(fresh), 64, fresh); err != nil {
					return err
				}
			}
			for i := range fresh {
				if (remembered+i)%10 == 0 || remembered+i < 10_000 {
					sample = append(sample, fresh[i])
				}
			}
			remembered += len(fresh)
		}
		r, err := compare(growthRounds, max(40_000, len(sample)), 64, sample, product)
		if err != nil {
			return err
		}
		c.add(thousands(float64(count)), r)
	}
	b.keep(c)
	full, err1 := residentMemory(product.process.PID())
	fullBounded, err2 := residentMemory(bounded.process.PID())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	b.costs.token = (full - empty) / most
	b.note("resident memory for 1,000,000 remembered tokens, with the garbage collector's room",
		fmt.Sprintf("%.2f GiB, %d bytes a token", float64(full-empty)/(1<<30), (full-empty)/most), "≤ 1 GiB")
	b.note("the same after 250,000 tokens, bounded to 64 MiB and the collector's 256",
		fmt.Sprintf("%d MiB", (fullBounded-emptyBounded)>>20), "≤ 320 MiB")
	return nil
}

// refused is the cost of saying no: to a forged signature, which is verified each time, and to nothing at all.
func (b *bench) refused() error {
	product, err := b.startExtauthz("extauthz-refused", "EXTAUTHZ_LOG_LEVEL=error")
	if err != nil {
		return err
	}
	good, forged, none := make([]message, 1000), make([]message, 1000), []message{encode("")}
	for i := range good {
		token := b.issuer.token(i)
		dot := strings.LastIndexByte(token, '.')
		other := b.issuer.token(i + len(good))
		good[i], forged[i] = encode(token), encode(token[:dot]+other[strings.LastIndexByte(other, '.'):])
	}
	cost := make([]result, 3)
	for round := range 4 {
		for i, messages := range [][]message{good, forged, none} {
			r, err := drive(product, 30_000, 64, messages)
			if err != nil {
				return err
			}
			if wanted := r.checks * min(i, 1); r.refused != wanted {
				return fmt.Errorf("%d of %d refused, want %d", r.refused, r.checks, wanted)
			}
			if round > 0 {
				cost[i].keepBest(r)
			}
		}
	}
	b.noteTarget("refused for a forged signature", cost[1])
	b.noteTarget("refused for want of a credential", cost[2])
	b.ratio("forged", "CPU a check, forged signature ÷ JWT seen before", cost[1].microseconds()/cost[0].microseconds(), "")
	return nil
}

// cold runs the Go benchmark that holds a check of a new token against its signature alone.
func (b *bench) cold() error {
	command := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", "ColdCheck", "-benchtime", "2s",
		"./extauthz")
	command.Dir = b.installer.Root()
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		for i, field := range fields {
			if field != "of-its-signature" {
				continue
			}
			algorithm, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "BenchmarkColdCheck/"), "-")
			bound := ""
			if algorithm == "EdDSA" {
				bound = "≤ 1.35"
			}
			b.note("cold check ÷ its signature alone, "+algorithm, fields[i-1], bound)
		}
	}
	return nil
}
