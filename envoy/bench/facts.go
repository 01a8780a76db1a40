package main

import (
	"fmt"
)

// allFacts asks for every further fact that has a name.
const allFacts = "EXTAUTHZ_IDENTITY=role,organization,email-verified,impersonator,session-id,claim.o.id=x-user-organization"

// pluginTables bring the tables to where Better Auth's admin and organization plugins have them, and give each session
// an organization whose member its user is.
var pluginTables = []string{
	`alter table "user" add column "emailVerified" boolean default true, add column "role" text default 'user', add column "banned" boolean default false, add column "banExpires" timestamptz`,
	`alter table "session" add column "activeOrganizationId" text, add column "impersonatedBy" text`,
	`create table "member" ("id" text primary key, "organizationId" text not null, "userId" text not null, "role" text not null)`,
	`insert into "member" select 'm' || "id", 'org' || length("id"), "id", 'member' from "user"`,
	`create index on "member" ("organizationId")`, `create index on "member" ("userId")`,
	`update "session" set "activeOrganizationId" = 'org' || length("userId")`,
	`vacuum analyze`,
}

// facts is what further facts of the user cost: of a session, of a JWT seen before, and of one that is new.
func (b *bench) facts() error {
	url, connection, err := b.newDatabase("facts")
	if err != nil {
		return err
	}
	defer connection.Close(b.ctx)
	if err := storeSessions(b.ctx, connection, 0, benchSessions); err != nil {
		return err
	}
	for _, statement := range pluginTables {
		if _, err := connection.Exec(b.ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	without, err := b.startExtauthz("extauthz-without-facts", "DATABASE_URL="+url)
	if err != nil {
		return err
	}
	with, err := b.startExtauthz("extauthz-with-facts", "DATABASE_URL="+url, allFacts)
	if err != nil {
		return err
	}
	without.database, with.database = b.postgres.PID(), b.postgres.PID()
	messages := make([]message, benchSessions)
	for i := range messages {
		messages[i] = encode(sessionToken((i * 7919) % benchSessions))
	}
	r, err := compare(4, 30_000, 256, messages, without, with)
	if err != nil {
		return err
	}
	b.noteTarget("session, extauthz, tables with plugins and no fact asked for", r[0])
	b.noteTarget("session, extauthz, all facts", r[1])
	b.ratio("facts-session", "CPU a session check with all facts ÷ without", r[1].microseconds()/r[0].microseconds(),
		"≤ 1.15")
	b.note("PostgreSQL's CPU a session check with all facts ÷ without", fmt.Sprintf("%.1f ÷ %.1f µs",
		r[1].databaseMicroseconds(), r[0].databaseMicroseconds()), "")

	seen := make([]message, 1000)
	for i := range seen {
		seen[i] = encode(b.factsToken(i))
	}
	if r, err = compare(4, 30_000, 64, seen, without, with); err != nil {
		return err
	}
	b.ratio("facts-jwt", "CPU a check of a JWT seen before, with all facts ÷ without",
		r[1].microseconds()/r[0].microseconds(), "")

	const rounds, fresh = 4, 10_000
	var best [2]result
	for round := range rounds + 1 { // the first warms up
		for i, t := range []target{without, with} {
			tokens := make([]message, fresh)
			for n := range tokens {
				tokens[n] = encode(b.factsToken(1000 + (2*round+i)*fresh + n))
			}
			one, err := drive(t, fresh, 64, tokens)
			if err != nil {
				return err
			}
			if round > 0 {
				best[i].keepBest(one)
			}
		}
	}
	b.ratio("facts-cold", "CPU a check of a new JWT, with all facts ÷ without",
		best[1].microseconds()/best[0].microseconds(), "")
	return nil
}

// factsToken is one as definePayload makes it that adds an organization to the user's columns.
func (b *bench) factsToken(user int) string {
	return b.issuer.sign(user, map[string]any{
		"id": fmt.Sprintf("user%028d", user), "email": fmt.Sprintf("user%d@example.com", user), "name": "Zoë Day",
		"emailVerified": true,
		"image":         nil, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
		"role": "user", "banned": false, "banReason": nil, "banExpires": nil,
		"o": map[string]any{"id": "org-1", "slug": "one", "role": "member"}, "sid": "session-1",
	})
}
