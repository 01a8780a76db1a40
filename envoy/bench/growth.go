package main

import (
	"fmt"
	"strconv"
)

// How the cost of a check grows. Each point is the better of two rounds after one that warms up.
const growthRounds = 2

// curve measures one point after another: the processor time a check, or the checks a second, of each target.
type curve struct {
	plot
	figure func(result) float64
}

func (c *curve) add(label string, results []result) {
	c.labels = append(c.labels, label)
	for i := range c.lines {
		c.lines[i].values = append(c.lines[i].values, c.figure(results[i]))
	}
	fmt.Printf("%s, %s:", c.title, label)
	for _, line := range c.lines {
		fmt.Printf(" %s %.1f", line.name, line.values[len(line.values)-1])
	}
	fmt.Println()
}

func (b *bench) keep(c *curve) { b.plots = append(b.plots, &c.plot) }

func newCurve(file, title, unit, axis string, figure func(result) float64, names ...string) *curve {
	c := &curve{plot: plot{file: file, title: title, unit: unit, axis: axis}, figure: figure}
	for _, name := range names {
		c.lines = append(c.lines, series{name: name})
	}
	return c
}

const perCheck = "µs of CPU a check"

// inFlight is a seen JWT and a session with more and more checks at once.
func (b *bench) inFlight() error {
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
	product, err := b.startExtauthz("extauthz-in-flight", "DATABASE_URL="+b.database)
	if err != nil {
		return err
	}
	jwts, sessions := make([]message, 1000), make([]message, 10_000)
	for i := range jwts {
		jwts[i] = encode(b.issuer.token(i))
	}
	for i := range sessions {
		sessions[i] = encode(sessionToken((i * 7919) % benchSessions))
	}
	jwt := newCurve("performance-in-flight-jwt.svg", "A JWT seen before, by checks in flight", perCheck,
		"checks in flight", result.microseconds, "extauthz", "no-op server")
	session := newCurve("performance-in-flight-session.svg", "A session, by checks in flight", "checks a second",
		"checks in flight", result.perSecond, "extauthz", "one query a check")
	for _, inFlight := range []int{1, 4, 16, 64, 256, 1024} {
		checks := min(40_000, 5000*inFlight)
		r, err := compare(growthRounds, checks, inFlight, jwts, product, noOp)
		if err != nil {
			return err
		}
		jwt.add(strconv.Itoa(inFlight), r)
		if r, err = compare(growthRounds, min(checks, 20_000), inFlight, sessions, product, oneQuery); err != nil {
			return err
		}
		session.add(strconv.Itoa(inFlight), r)
	}
	b.keep(jwt)
	b.keep(session)
	return nil
}

// headerBytes is a seen JWT in requests with longer and longer headers.
func (b *bench) headerBytes() error {
	noOp, err := b.startPeer(serverNoOp)
	if err != nil {
		return err
	}
	product, err := b.startExtauthz("extauthz-headers")
	if err != nil {
		return err
	}
	c := newCurve("performance-headers.svg", "A JWT seen before, by the size of the request's headers", perCheck,
		"KiB of headers", result.microseconds, "extauthz", "no-op server")
	for _, size := range []int{512, 1024, 2048, 4096, 8192, 16384, 32768} {
		messages := make([]message, 1000)
		for i := range messages {
			messages[i] = encodeOfSize(b.issuer.shortToken(i), size)
		}
		r, err := compare(growthRounds, 20_000, 32, messages, product, noOp)
		if err != nil {
			return err
		}
		c.add(strconv.FormatFloat(float64(size)/1024, 'f', -1, 64), r)
	}
	b.keep(c)
	return nil
}

// keysInTheSet is a JWT by one of more and more keys: seen before, and verified each time.
func (b *bench) keysInTheSet() error {
	c := newCurve("performance-keys.svg", "A JWT, by the number of keys in the JWKS", perCheck, "keys",
		result.microseconds, "seen before", "verified each time")
	one := b.issuer
	defer func() { b.issuer = one }()
	for _, count := range []int{1, 10, 100} {
		var err error
		if b.issuer, err = newIssuer(count); err != nil {
			return err
		}
		seen, err := b.startExtauthz(fmt.Sprintf("extauthz-%d-keys", count))
		if err != nil {
			return err
		}
		anew, err := b.startExtauthz(fmt.Sprintf("extauthz-%d-keys-anew", count), "EXTAUTHZ_REMEMBERED_TOKENS=0")
		if err != nil {
			return err
		}
		messages := make([]message, 1000)
		for i := range messages {
			messages[i] = encode(b.issuer.token(i))
		}
		r, err := compare(growthRounds, 20_000, 64, messages, seen, anew)
		if err != nil {
			return err
		}
		c.add(strconv.Itoa(count), r)
		b.stopAll()
	}
	b.keep(c)
	return nil
}

// sessionsStored is a session check in a table that grows to ten million rows.
func (b *bench) sessionsStored() error {
	database, connection, err := b.newDatabase("growing")
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	product, err := b.startExtauthz("extauthz-growing", "DATABASE_URL="+database)
	if err != nil {
		return err
	}
	c := newCurve("performance-sessions-stored.svg", "A session, by the number of sessions stored", "checks a second",
		"sessions in the table", result.perSecond, "extauthz")
	cpu := newCurve("", "A session, by the number of sessions stored", "µs of CPU a check", "sessions in the table",
		result.microseconds, "extauthz")
	inDatabase := newCurve("", "A session, by the number of sessions stored", "µs of CPU a check", "sessions in the table",
		result.databaseMicroseconds, "PostgreSQL")
	stored := 0
	for _, count := range []int{1000, 10_000, 100_000, 1_000_000, 10_000_000} {
		fmt.Printf("storing %s sessions …\n", thousands(float64(count)))
		if err := storeSessions(b.ctx, connection, stored, count); err != nil {
			return err
		}
		stored = count
		messages := make([]message, 50_000)
		for i := range messages {
			messages[i] = encode(sessionToken((i * 7919 * 13) % count))
		}
		product.database = b.postgres.PID()
		r, err := compare(growthRounds, 40_000, 256, messages, product)
		if err != nil {
			return err
		}
		for _, c := range []*curve{c, cpu, inDatabase} {
			c.add(thousands(float64(count)), r)
		}
	}
	b.keep(c)
	c.more = []*plot{&cpu.plot, &inDatabase.plot}
	at := func(i int) float64 { return c.lines[0].values[i] }
	b.ratio("growth", "session checks a second with 10,000,000 sessions stored ÷ with 10,000", at(4)/at(1), "")
	return nil
}

// tuning is what the settings that are built in would be worth if they were others.
func (b *bench) tuning() error {
	messages := make([]message, 1000)
	for i := range messages {
		messages[i] = encode(b.issuer.token(i))
	}
	measure := func(what string, targets []target, labels []string) error {
		r, err := compare(3, 60_000, 64, messages, targets...)
		if err != nil {
			return err
		}
		for i, label := range labels {
			b.note("JWT seen before, "+what+" "+label, fmt.Sprintf("%.1f µs of CPU a check", r[i].microseconds()), "")
		}
		b.stopAll()
		return nil
	}
	var targets []target
	percents := []string{"100", "400", "1000"}
	for _, percent := range percents {
		t, err := b.startExtauthz("extauthz-gogc-"+percent, "GOGC="+percent)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	if err := measure("GOGC", targets, percents); err != nil {
		return err
	}
	targets = nil
	workers := []string{"8", "32", "128", "512"}
	ours := b.binary
	defer func() { b.binary = ours }()
	for _, count := range workers {
		var err error
		if b.binary, err = b.buildWithWorkers(count); err != nil {
			return err
		}
		t, err := b.startExtauthz("extauthz-workers-" + count)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	return measure("goroutines that wait for checks", targets, workers)
}
