package extauthz

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/finding"
	"extauthz/extauthz/internal/identity"
)

// allFacts asks for every further fact that has a name, and for some that have not.
var allFacts = []string{"role", "organization", "email-verified", "impersonator", "session-id", "user.plan_tier=x-user-plan",
	"session.ipAddress=x-auth-address", "claim.o.id=x-user-organization", "claim.o.role=x-user-organization-role"}

// factsTables are Better Auth's tables with the admin and organization plugins, and liveToken's session: of user-2, an
// editor, active in org-1.
func factsTables() []string {
	return []string{
		`create table "user" ("id" text primary key, "name" text, "email" text, "emailVerified" boolean, "role" text, "banned" boolean, "banReason" text, "banExpires" timestamptz, "plan_tier" text, "tags" text[], "seen" timestamptz)`,
		`create table "session" ("id" text primary key, "expiresAt" timestamptz, "token" text unique, "ipAddress" text, "userAgent" text, "userId" text references "user", "activeOrganizationId" text, "activeTeamId" text, "impersonatedBy" text)`,
		`create table "organization" ("id" text primary key, "name" text)`,
		`create table "member" ("id" text primary key, "organizationId" text references "organization", "userId" text references "user", "role" text)`,
		`insert into "user" values ('user-2', 'Ana', 'ana@example.com', true, 'editor,admin', false, null, null, 'pro', '{a,b}', '2026-01-02T03:04:05Z')`,
		`insert into "user" ("id", "email") values ('user-3', 'bo@example.com')`,
		fmt.Sprintf(`insert into "session" values ('s-1', to_timestamp(%d), '%s', '10.0.0.9', null, 'user-2', 'org-1', null, 'user-9')`, in(3600), liveToken),
		`insert into "organization" values ('org-1', 'One'), ('org-2', 'Two')`,
		`insert into "member" values ('m-1', 'org-1', 'user-2', 'owner'), ('m-2', 'org-2', 'user-3', 'owner')`,
	}
}

// told are the headers of an allow, and those that are removed as "-".
func told(t *testing.T, response *authv3.CheckResponse) map[string]string {
	t.Helper()
	ok := response.GetOkResponse()
	if ok == nil {
		t.Fatalf("denied: %v", response.GetDynamicMetadata())
	}
	headers := headerMap(t, ok.GetHeaders())
	for _, name := range ok.GetHeadersToRemove() {
		if headers[name] != "" {
			t.Errorf("%s is both set and removed", name)
		}
		headers[name] = "-"
	}
	return headers
}

// expectTold wants these headers, with these values, "-" for removed ones; others do not count.
func expectTold(t *testing.T, response *authv3.CheckResponse, want map[string]string) {
	t.Helper()
	got := told(t, response)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %q, want %q", name, got[name], want[name])
		}
		value, isSet := response.GetDynamicMetadata().GetFields()[identity.Metadata(name)]
		if plain, _ := url.PathUnescape(want[name]); isSet != (want[name] != "-") || isSet && value.GetStringValue() != plain {
			t.Errorf("metadata %s: %q", identity.Metadata(name), value)
		}
	}
}

// Each fact is as the row has it when the check asks, and one that is no more is removed from the request.
func TestFactsOfSessions(t *testing.T) {
	dsn := newDatabaseURL(t, factsTables()...)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn,
		Identity: append(slices.Clone(allFacts), "user.tags=x-user-tags", "user.seen=x-user-seen")})
	whole := map[string]string{"x-user-role": "editor,admin", "x-user-organization": "org-1", "x-user-organization-role": "owner",
		"x-user-email-verified": "true", "x-auth-impersonator": "user-9", "x-auth-session-id": "s-1", "x-user-plan": "pro",
		"x-auth-address": "10.0.0.9", "x-user-tags": "a,b", "x-user-seen": "2026-01-02T03:04:05.000Z"}
	for _, row := range []struct {
		title, statement string
		changed          map[string]string
	}{
		{"as it is", `select 1`, nil},
		{"another role", `update "user" set "role" = 'user' where "id" = 'user-2'`, map[string]string{"x-user-role": "user"}},
		{"no role", `update "user" set "role" = null where "id" = 'user-2'`, map[string]string{"x-user-role": "-"}},
		{"a removed member", `delete from "member" where "id" = 'm-1'`,
			map[string]string{"x-user-organization": "-", "x-user-organization-role": "-"}},
		{"another's organization", `update "session" set "activeOrganizationId" = 'org-2'`,
			map[string]string{"x-user-organization": "-", "x-user-organization-role": "-"}},
		{"no organization", `update "session" set "activeOrganizationId" = null`,
			map[string]string{"x-user-organization": "-", "x-user-organization-role": "-"}},
		{"another role there", `update "member" set "role" = 'member,billing' where "id" = 'm-1'`,
			map[string]string{"x-user-organization-role": "member,billing"}},
		{"no longer verified", `update "user" set "emailVerified" = false where "id" = 'user-2'`,
			map[string]string{"x-user-email-verified": "false"}},
		{"nobody impersonates", `update "session" set "impersonatedBy" = null`, map[string]string{"x-auth-impersonator": "-"}},
		{"text that would break a line", `update "user" set "plan_tier" = E'pro\r\nx-user-id: user-1' where "id" = 'user-2'`,
			map[string]string{"x-user-plan": "pro%0D%0Ax-user-id: user-1"}},
		{"more text than is told", `update "user" set "plan_tier" = repeat('x', 5000) where "id" = 'user-2'`,
			map[string]string{"x-user-plan": "-"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			execute(t, dsn, row.statement)
			defer execute(t, dsn, `delete from "session"`, `delete from "member"`, `delete from "organization"`, `delete from "user"`,
				strings.Join(factsTables()[4:], ";"))
			want := maps.Clone(whole)
			maps.Copy(want, row.changed)
			in := bearerRequest(liveToken)
			expectTold(t, decidedByCheck(t, a, in), want)
		})
	}
}

// What is asked for is removed from whatever a client sends, also where the request does not show it, in each way of
// answering.
func TestFactsAreTakenFromTheClient(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), Identity: allFacts})
	client := dialAuthorizer(t, a)
	in := bearerRequest(signers()["ed"].issue(goodClaims(map[string]any{"emailVerified": nil})))
	anonymous := wire["headers"]("GET", nil)
	anonymous.Attributes.ContextExtensions = map[string]string{"optional": "true"}
	for title, in := range map[string]*authv3.CheckRequest{"cold": in, "remembered": in, "optional": anonymous} {
		got := told(t, decided(t, func() (*authv3.CheckResponse, error) { return client.Check(t.Context(), in) }))
		for _, name := range a.further() {
			if got[name] != "-" {
				t.Errorf("%s: %s is %q and not removed", title, name, got[name])
			}
		}
	}
}

// A JWT has facts in its claims, and they are the same when the token is remembered.
func TestFactsOfClaims(t *testing.T) {
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Identity: append(slices.Clone(allFacts),
		"claim.https://example.com/a.b=x-user-dotted", "claim.deep=x-user-deep", "claim.email=x-user-mail-claim")})
	for _, row := range []struct {
		title  string
		claims map[string]any
		want   map[string]string
	}{
		{"none", map[string]any{"emailVerified": nil}, map[string]string{"x-user-role": "-", "x-user-organization": "-", "x-user-email-verified": "-",
			"x-auth-impersonator": "-", "x-auth-session-id": "-", "x-user-plan": "-"}},
		{"all", map[string]any{"role": "editor,admin", "emailVerified": true, "impersonatedBy": "user-9", "sid": "s-1",
			"o": map[string]any{"id": "org-1", "slug": "one", "role": "owner"}},
			map[string]string{"x-user-role": "editor,admin", "x-user-email-verified": "true", "x-auth-impersonator": "user-9",
				"x-auth-session-id": "s-1", "x-user-organization": "org-1", "x-user-organization-role": "owner"}},
		{"a list of roles", map[string]any{"role": []any{"editor", "admin"}}, map[string]string{"x-user-role": "editor,admin"}},
		{"a role with a comma in a list", map[string]any{"role": []any{"a,admin", "b"}}, map[string]string{"x-user-role": `["a,admin","b"]`}},
		{"null", map[string]any{"role": nil, "o": nil}, map[string]string{"x-user-role": "-", "x-user-organization": "-"}},
		{"an organization that is only in the session", map[string]any{"activeOrganizationId": "org-1"}, map[string]string{"x-user-organization": "-"}},
		{"a name with dots, and within an object", map[string]any{"https://example.com/a.b": "x"}, map[string]string{"x-user-dotted": "x"}},
		{"both", map[string]any{"o.id": "whole", "o": map[string]any{"id": "within"}}, map[string]string{"x-user-organization": "whole"}},
		{"an object", map[string]any{"deep": map[string]any{"b": []any{1, nil}}}, map[string]string{"x-user-deep": `{"b":[1,null]}`}},
		{"too long", map[string]any{"deep": strings.Repeat("x", 5000)}, map[string]string{"x-user-deep": "-"}},
		{"CRLF", map[string]any{"role": "a\r\nx-user-id: b"}, map[string]string{"x-user-role": "a%0D%0Ax-user-id: b"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			in := bearerRequest(signers()["ed"].issue(goodClaims(row.claims)))
			for range 2 {
				expectTold(t, decidedByCheck(t, a, in), row.want)
			}
			read := checkwire.ReadRequest(in)
			d := a.decide(t.Context(), &read)
			if d.Remembered == nil {
				t.Fatal("not remembered")
			}
			for name, want := range row.want {
				i := slices.IndexFunc(d.Who().Further, func(f identity.Further) bool { return f.Header == name })
				if plain, _ := url.PathUnescape(want); (i >= 0) != (want != "-") || i >= 0 && d.Who().Further[i].Value != plain {
					t.Errorf("read back: %v, want %s %q", d.Who().Further, name, want)
				}
			}
		})
	}
}

// A banned user is refused by session from the next check on, and by JWT as of its issue.
func TestBans(t *testing.T) {
	dsn := newDatabaseURL(t, factsTables()...)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, Secret: []byte(testSecret), DatabaseURL: dsn})
	now := testNow.Format(time.RFC3339)
	for _, row := range []struct {
		title, banned, expires string
		claims                 map[string]any
		reason                 Reason
	}{
		{"not banned", "false", "null", map[string]any{"banned": false}, ""},
		{"nothing said", "null", "null", map[string]any{"banned": nil, "banExpires": nil}, ""},
		{"for ever", "true", "null", map[string]any{"banned": true}, ReasonUserBanned},
		{"for a while", "true", "timestamptz '" + now + "' + interval '1 s'", map[string]any{"banned": true, "banExpires": testNow.Add(time.Second).Format(time.RFC3339Nano)}, ReasonUserBanned},
		{"until a number of milliseconds", "true", "'infinity'", map[string]any{"banExpires": testNow.Add(time.Second).UnixMilli(), "banned": true}, ReasonUserBanned},
		{"no longer", "true", "timestamptz '" + now + "' - interval '1 s'", map[string]any{"banned": true, "banExpires": testNow.Add(-time.Second).Format("2006-01-02T15:04:05.000Z07:00")}, ""},
		{"an end that is none", "true", "'infinity'", map[string]any{"banned": true, "banExpires": "soon"}, ReasonUserBanned},
		{"an end in words of another type", "true", "null", map[string]any{"banned": "yes", "banExpires": []any{}}, ReasonUserBanned},
		{"an end without a ban", "false", "'infinity'", map[string]any{"banExpires": "2999-01-01T00:00:00Z"}, ""},
		{"zero", "false", "null", map[string]any{"banned": 0}, ""},
	} {
		t.Run(row.title, func(t *testing.T) {
			execute(t, dsn, `update "user" set "banned" = `+row.banned+`, "banExpires" = `+row.expires+` where "id" = 'user-2'`)
			expectToken(t, a, liveToken, row.reason)
			for range 2 {
				expectToken(t, a, signers()["ed"].issue(goodClaims(row.claims)), row.reason)
				expectToken(t, a, hs256(goodClaims(row.claims)), row.reason)
			}
		})
	}
	execute(t, dsn, `update "user" set "banned" = true, "banExpires" = null where "id" = 'user-2'`, `update "session" set "expiresAt" = to_timestamp(0)`)
	expectToken(t, a, liveToken, ReasonExpired) // as for everybody: an expired session says so
	expectDenial(t, decidedByCheck(t, a, bearerRequest(hs256(goodClaims(map[string]any{"banned": true})))), ReasonUserBanned)
}

// A column of bans that comes while the server runs counts from then on.
func TestBanThatComesLater(t *testing.T) {
	dsn := newDatabaseURL(t, factsTables()...)
	execute(t, dsn, `alter table "user" drop column "banned"`, `alter table "user" drop column "banExpires"`)
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn})
	expectToken(t, a, liveToken, "")
	execute(t, dsn, `alter table "user" add column "banned" boolean`, `update "user" set "banned" = true`)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		response, _ := a.Check(t.Context(), bearerRequest(liveToken))
		switch reason := reasonIn(response); {
		case reason == ReasonUserBanned:
			return
		case reason == "":
			t.Fatal("a banned user passes")
		case time.Now().After(deadline):
			t.Fatal(reason)
		}
	}
}

// What is missing is named, and nothing passes meanwhile; what doctor says to do is what helps.
func TestFactsThatAreMissing(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	for _, row := range []struct {
		title    string
		tables   []string // beside those of allFacts
		identity []string
		names    SchemaNames
		want     string
	}{
		{"no role", []string{`alter table "user" drop column "role"`}, []string{"role"}, SchemaNames{},
			`table "public"."user" has no column for Better Auth's "role", which Config.Identity asks for; name it in Config.Schema.UserColumns as role=column`},
		{"a column that there is not", nil, []string{"user.plan=x-user-plan"}, SchemaNames{},
			`table "public"."user" has no column "plan", which Config.Identity asks for`},
		{"no organization plugin", []string{`drop table "member"`}, []string{"organization"}, SchemaNames{},
			`no table looks like Better Auth's "member"`},
		{"a session without an organization", []string{`alter table "session" drop column "activeOrganizationId"`}, []string{"organization"}, SchemaNames{},
			`table "public"."session" has no column for Better Auth's "activeOrganizationId"`},
		{"two tables of members", []string{`create table "members" (like "member")`}, []string{"organization"}, SchemaNames{},
			`both "public"."member" and "public"."members" look like Better Auth's "member"; name one in Config.Schema.MemberTable`},
		{"the token, by its renamed column", []string{`alter table "session" rename column "token" to "secret"`}, []string{"session.secret=x-auth-secret"},
			SchemaNames{SessionColumns: map[string]string{"token": "secret"}}, `which is the session's token; leave it out`},
		{"a ban of another type", []string{`alter table "user" alter column "banned" type text`}, nil, SchemaNames{},
			`has type text where Better Auth's "banned" is a bool; name another in Config.Schema.UserColumns as banned=column, or banned= where there is none`},
	} {
		t.Run(row.title, func(t *testing.T) {
			dsn := newDatabaseURL(t, append(factsTables(), row.tables...)...)
			config := Config{JWKSURL: jwks, DatabaseURL: dsn, Identity: row.identity, Schema: row.names}
			a := runAuthorizer(t, config)
			response, _ := a.Check(t.Context(), bearerRequest(liveToken))
			if reason := reasonIn(response); reason == "" || response.GetDeniedResponse().GetStatus().GetCode() != 503 {
				t.Errorf("reason %q, want an outage", reason)
			}
			expectFindings(t, diagnoseTest(t, config), "database", "failure tables: ", row.want)
		})
	}
}

// A role may read what is asked for and no more; what it may not read is named with the grant, which suffices.
func TestFactsAndGrants(t *testing.T) {
	jwks := serveKeys(t, testKeys()).URL
	dsn := newDatabaseURL(t, factsTables()...)
	role := fmt.Sprintf("facts_%d", time.Now().UnixNano())
	least, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	least.User = url.UserPassword(role, "s3cret")
	execute(t, dsn, `create role `+role+` login password 's3cret'`, `grant select ("token", "expiresAt", "userId") on "session" to `+role,
		`grant select ("id", "email", "name") on "user" to `+role)
	config := Config{JWKSURL: jwks, DatabaseURL: least.String(), Identity: allFacts}
	for range 5 {
		found := diagnoseTest(t, config)
		at := slices.IndexFunc(found, func(f finding.Finding) bool { return f.Tried == "tables" })
		_, grant, isMissing := strings.Cut(found[at].Found, "; ")
		if !isMissing {
			break
		}
		if !strings.Contains(found[at].Found, role+" may not read ") || !strings.HasPrefix(grant, "grant select (") {
			t.Fatalf("%+v", found[at])
		}
		execute(t, dsn, grant)
	}
	expectFindings(t, diagnoseTest(t, config), "database", `ok bans: by "banned" until "banExpires"`, `ok facts: "user"."role", "member"."organizationId", "member"."role"`,
		"ok rights: "+role+" may read sessions and users, and write nothing")
	a := startAuthorizer(t, config)
	expectTold(t, decidedByCheck(t, a, bearerRequest(liveToken)), map[string]string{"x-user-role": "editor,admin", "x-user-organization": "org-1"})
	execute(t, dsn, `create table "account" ("password" text)`, `grant select on "account" to `+role)
	expectFindings(t, diagnoseTest(t, config), "database", "warning rights: "+role+" may also read public.account")

	// Rows of members that may be hidden would end a membership, or keep one, unseen.
	execute(t, dsn, `alter table "member" enable row level security`, `create policy own on "member" using ("userId" = 'user-2')`)
	expectFindings(t, diagnoseTest(t, config), "database", "failure row level security: rows of public.member may be hidden")
}

// A setting that cannot be meant stops the start.
func TestIdentitySetting(t *testing.T) {
	for text, want := range map[string]string{
		"roles":                                       "is no fact; write role, organization",
		"user.=x-user-a":                              "names no column",
		"account.password=x-user-a":                   "begins with none of user., session. and claim.",
		"user.plan=x-plan":                            "whose header is not x-user-… or x-auth-…",
		"user.plan=x-user-":                           "whose header is not",
		"user.plan=x-user-a_b":                        "whose header is not",
		"user.plan=x-user-a\r\nb":                     "whose header is not",
		"user.plan=x-user-id":                         "told otherwise",
		"user.plan=x-auth-issuer":                     "told otherwise",
		"user.plan=x-user-agent":                      "told otherwise",
		"session.token=x-auth-token":                  "hand the session itself",
		"session.activeTeamId=x-user-t":               "stays in the session when a member is removed",
		"role,user.kind=x-user-role":                  "told by another column",
		"claim.a=x-user-a,claim.b=x-user-a":           "told by another claim",
		"user.plan=x-user-" + strings.Repeat("a", 80): "longer than",
	} {
		_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, Identity: strings.Split(text, ",")})
		config, is := errors.AsType[*ConfigError](err)
		if !is || config.Field != "Identity" || !strings.Contains(config.Fault, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, Identity: []string{"user.plan=x-user-plan"}, KeepHeaders: []string{"x-user-plan"}}); err == nil {
		t.Error("a header is both the client's and ours")
	}
}

// Rules hold for sessions as for tokens, by column; none widens, and one that nobody can meet is logged.
func TestRulesByFacts(t *testing.T) {
	dsn := newDatabaseURL(t, factsTables()...)
	log := &lockedBuffer{}
	a := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Identity: allFacts, Logger: slog.New(slog.NewTextHandler(log, nil))})
	plain := startAuthorizer(t, Config{JWKSURL: serveKeys(t, testKeys()).URL, DatabaseURL: dsn, Logger: slog.New(slog.NewTextHandler(log, nil))})
	token := signers()["ed"].issue(goodClaims(map[string]any{"role": "editor,admin", "scope": "read write", "o": map[string]any{"id": "org-1", "role": "owner"},
		"emailVerified": true, "plan_tier": "pro", "title": "clerk,admin"}))
	type rules map[string]string
	for _, row := range []struct {
		title        string
		rules        rules
		session, jwt Reason
		never        string // told of sessions
	}{
		{"a role", rules{"role": "admin"}, "", "", ""},
		{"any of two roles", rules{"role": "owner, admin"}, "", "", ""},
		{"another role", rules{"role": "adm"}, ReasonClaimRequired, ReasonClaimRequired, ""},
		{"an empty entry", rules{"role": "admin,"}, ReasonBadRouteSettings, ReasonBadRouteSettings, ""},
		{"the claim of roles", rules{"claim.role": "admin"}, "", "", ""},
		{"the claim of roles, whole", rules{"claim.role": "editor,admin"}, "", "", ""},
		{"an organization", rules{"organization": "org-1"}, "", "", ""},
		{"any of two organizations", rules{"organization": "org-0,org-1"}, "", "", ""},
		{"another organization", rules{"organization": "org-2"}, ReasonClaimRequired, ReasonClaimRequired, ""},
		{"the organization, as the JWT has it", rules{"claim.o.id": "org-1"}, "", "", ""},
		{"the role there, as the JWT has it", rules{"claim.o.role": "owner"}, "", "", ""},
		{"a truth value", rules{"claim.emailVerified": "true"}, "", "", ""},
		{"a column in camelCase", rules{"claim.planTier": "pro"}, "", ReasonClaimRequired, ""},
		{"a column", rules{"claim.plan_tier": "pro"}, "", "", ""},
		{"the e-mail", rules{"claim.email": "ana@example.com"}, "", ReasonClaimRequired, ""},
		{"the id", rules{"claim.sub": "user-2"}, "", ReasonClaimRequired, ""},
		{"a scope", rules{"claim.scope": "write"}, ReasonClaimRequired, "", `claim.scope`},
		{"a text that is no list", rules{"claim.title": "admin"}, ReasonClaimRequired, ReasonClaimRequired, `claim.title`},
		{"all of several", rules{"role": "admin", "organization": "org-1", "claim.plan_tier": "pro"}, "", "", ""},
		{"all of several but one", rules{"role": "admin", "organization": "org-2", "claim.plan_tier": "pro"}, ReasonClaimRequired, ReasonClaimRequired, ""},
	} {
		t.Run(row.title, func(t *testing.T) {
			for credential, want := range map[string]Reason{liveToken: row.session, token: row.jwt} {
				in := bearerRequest(credential)
				in.Attributes.ContextExtensions = row.rules
				for range 2 {
					if got := reasonIn(decidedByCheck(t, a, in)); got != want {
						t.Errorf("%.5s…: reason %q, want %q", credential, got, want)
					}
				}
			}
			if row.never != "" && strings.Count(log.String(), `for the rule \"`+row.never+`\"`) != 1 {
				t.Errorf("%s is not told once:\n%s", row.never, log)
			}
		})
	}
	// A role can be asked for by a rule without more; what else there is, is not read, and said so.
	in := bearerRequest(liveToken)
	in.Attributes.ContextExtensions = rules{"role": "admin"}
	if got := reasonIn(decidedByCheck(t, plain, in)); got != "" {
		t.Errorf("reason %q", got)
	}
	in.Attributes.ContextExtensions = rules{"organization": "org-1"}
	if got := reasonIn(decidedByCheck(t, plain, in)); got != ReasonClaimRequired || !strings.Contains(log.String(), `no session has a column for the rule \"organization\"`) {
		t.Errorf("reason %q:\n%s", got, log)
	}
	if headers := told(t, decidedByCheck(t, plain, bearerRequest(liveToken))); headers["x-user-role"] != "" {
		t.Errorf("a role is told that was not asked for: %v", headers)
	}
}

// doctor tells of a route what cannot be read of it, and what nobody can meet.
func TestRoutesAreJudged(t *testing.T) {
	dsn := newDatabaseURL(t, append(factsTables(), `alter table "user" drop column "role"`)...)
	a, err := New(Config{JWKSURL: serveKeys(t, testKeys()).URL, Issuers: []string{testIssuer}, Audiences: []string{testAudience},
		DatabaseURL: dsn, Identity: []string{"organization", "user.plan_tier=x-user-plan"}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	routes := []map[string]string{
		{"claim.plan_tier": "pro", "claim.email": "a@example.com"},
		{"role": "admin"},
		{"organization": "org-1"},
		{"claim.department": "sales", "methods": "session"},
		{"roles": "admin"},
	}
	wants := [][]string{
		nil,
		{`no session has a column for the rule "role"`},
		{`no JWT has a claim for the rule "organization"`},
		{`no session has a column for the rule "claim.department"`},
		{`every request is refused with 503: bad_route_settings: got context_extensions "roles": "admin"`},
	}
	for i, found := range a.Operator().JudgeRoutes(t.Context(), routes) {
		if len(found) != len(wants[i]) {
			t.Fatalf("%v: %+v", routes[i], found)
		}
		for n, want := range wants[i] {
			if !strings.Contains(found[n].Found, want) || found[n].Fix == "" {
				t.Errorf("%v: %+v, want %q", routes[i], found[n], want)
			}
		}
	}
}
