package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"extauthz/envoy/parts"
)

// startPluginsStack runs a Better Auth of its own with the admin and organization plugins, on a database of its own, which
// extauthz reads as the role of docs/reader.sql with all of that file's grants.
func startPluginsStack(t *testing.T) (*stack, string) {
	t.Helper()
	s := *startStack(t) // a copy: the processes stay the other's
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var err error
	if s.database, err = s.postgres.CreateDatabase(ctx, fmt.Sprintf("plugins_%d", time.Now().UnixNano())); err != nil {
		t.Fatal(err)
	}
	if s.issuerPort, err = parts.FreePort(); err != nil {
		t.Fatal(err)
	}
	s.issuerURL = fmt.Sprintf("http://127.0.0.1:%d", s.issuerPort)
	issuer, err := s.installer.StartIssuer(ctx, t.TempDir(), parts.IssuerSettings{
		Port: s.issuerPort, URL: s.issuerURL, Audience: audience, Secret: secret, DatabaseURL: s.database,
		TrustedOrigins: frontEnd, Plugins: "admin,organization",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { issuer.Stop() })
	reader, err := s.installer.ReaderURL(ctx, s.database)
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(s.installer.Root(), "docs", "reader.sql"))
	if err != nil {
		t.Fatal(err)
	}
	connection, err := pgx.Connect(ctx, s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, strings.ReplaceAll(string(script), "\n-- grant ", "\ngrant ")); err != nil {
		t.Fatal(err)
	}
	return &s, reader
}

// call has Better Auth do something for a person who is signed in, and returns its answer.
func (s *stack) call(t *testing.T, p person, path string, body map[string]any) answer {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	a := send(t, "POST", s.issuerURL+"/api/auth"+path, map[string]string{
		"Cookie": p.cookie, "Origin": frontEnd, "Content-Type": "application/json"}, string(encoded))
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	return a
}

// Each change that Better Auth's plugins make, or somebody by SQL, is seen by the very next check through Envoy.
func TestPluginsByEnvoy(t *testing.T) {
	s, reader := startPluginsStack(t)
	m := startMesh(t, parts.EnvoyNewest, "http.yaml", "BETTER_AUTH_URL="+s.issuerURL, "DATABASE_URL="+reader,
		"EXTAUTHZ_IDENTITY=role,organization,email-verified,impersonator,session-id")
	root, ana := s.signUp(t, "Root"), s.signUp(t, "Ana")
	s.execute(t, `update "user" set "role" = 'admin' where "id" = $1`, root.id)
	names := []string{"x-user-id", "x-user-role", "x-user-organization", "x-user-organization-role", "x-user-email-verified",
		"x-auth-impersonator"}
	// expect wants these of the headers at the backend, and no other of them, whatever the client says of itself.
	expect := func(title string, p person, want map[string]string) {
		t.Helper()
		for credential, header := range map[string]map[string]string{"cookie": {"Cookie": p.cookie}, "raw": bearer(p.raw)} {
			spoofed := maps.Clone(header)
			for _, name := range names {
				spoofed[name] = "spoofed"
			}
			got := received(t, m.get(t, "/api/headers", spoofed))
			for _, name := range names {
				if value, isThere := got[name]; value != want[name] || isThere != (want[name] != "") {
					t.Errorf("%s, by %s: %s is %q, want %q", title, credential, name, value, want[name])
				}
			}
		}
	}
	expect("as signed up", ana, map[string]string{"x-user-id": ana.id, "x-user-role": "user", "x-user-email-verified": "false"})
	s.call(t, root, "/admin/set-role", map[string]any{"userId": ana.id, "role": []string{"user", "admin"}})
	expect("set-role", ana, map[string]string{"x-user-id": ana.id, "x-user-role": "user,admin", "x-user-email-verified": "false"})
	s.call(t, root, "/admin/set-role", map[string]any{"userId": ana.id, "role": "user"})
	base := map[string]string{"x-user-id": ana.id, "x-user-role": "user", "x-user-email-verified": "false"}
	expect("set-role back", ana, base)
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(base)
		maps.Copy(all, more)
		return all
	}

	// Two organizations; Ana is a member of both by invitation's result, which the table says.
	var one, two struct{ ID string }
	for slug, into := range map[string]*struct{ ID string }{"one": &one, "two": &two} {
		a := s.call(t, root, "/organization/create", map[string]any{"name": slug, "slug": slug})
		if err := json.Unmarshal([]byte(a.body), into); err != nil || into.ID == "" {
			t.Fatalf("%s: %v", a.body, err)
		}
		var invitation struct{ ID string }
		a = s.call(t, root, "/organization/invite-member", map[string]any{"email": ana.email, "role": "member", "organizationId": into.ID})
		if err := json.Unmarshal([]byte(a.body), &invitation); err != nil {
			t.Fatal(err)
		}
		s.execute(t, `update "user" set "emailVerified" = true where "id" = $1`, ana.id)
		s.call(t, ana, "/organization/accept-invitation", map[string]any{"invitationId": invitation.ID})
	}
	base["x-user-email-verified"] = "true"
	s.call(t, ana, "/organization/set-active", map[string]any{"organizationId": one.ID})
	expect("set-active", ana, with(map[string]string{"x-user-organization": one.ID, "x-user-organization-role": "member"}))
	s.call(t, ana, "/organization/set-active", map[string]any{"organizationId": two.ID})
	expect("set-active, another", ana, with(map[string]string{"x-user-organization": two.ID, "x-user-organization-role": "member"}))
	s.call(t, ana, "/organization/set-active", map[string]any{"organizationId": nil})
	expect("set-active, none", ana, base)
	s.call(t, ana, "/organization/set-active", map[string]any{"organizationId": one.ID})
	var members struct{ Members []struct{ ID, UserID string } }
	a := send(t, "GET", s.issuerURL+"/api/auth/organization/list-members?organizationId="+one.ID, map[string]string{"Cookie": root.cookie}, "")
	if err := json.Unmarshal([]byte(a.body), &members); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	at := slices.IndexFunc(members.Members, func(m struct{ ID, UserID string }) bool { return m.UserID == ana.id })
	s.call(t, root, "/organization/update-member-role", map[string]any{"memberId": members.Members[at].ID, "role": "admin", "organizationId": one.ID})
	expect("update-member-role", ana, with(map[string]string{"x-user-organization": one.ID, "x-user-organization-role": "admin"}))
	s.call(t, root, "/organization/remove-member", map[string]any{"memberIdOrEmail": members.Members[at].ID, "organizationId": one.ID})
	expect("remove-member, whose session still names it", ana, base)

	// An impersonated session says by whom.
	a = s.call(t, root, "/admin/impersonate-user", map[string]any{"userId": ana.id})
	impersonated := person{id: ana.id}
	for _, line := range a.header.Values("Set-Cookie") {
		if cookie, err := http.ParseSetCookie(line); err == nil && cookie.Name == "better-auth.session_token" {
			impersonated.cookie = cookie.Name + "=" + cookie.Value
			impersonated.raw, _, _ = strings.Cut(cookie.Value, ".")
		}
	}
	expect("impersonate-user", impersonated, with(map[string]string{"x-auth-impersonator": root.id}))

	// A ban by SQL leaves the sessions, and one by Better Auth deletes them.
	forbidden := func(title string, header map[string]string, status int, detail string) {
		t.Helper()
		if a := m.get(t, "/api/headers", header); a.status != status || a.body != `{"detail":"`+detail+`"}` {
			t.Errorf("%s: %d %s, want %d %s", title, a.status, a.body, status, detail)
		}
	}
	s.execute(t, `update "user" set "banned" = true where "id" = $1`, ana.id)
	forbidden("a ban by SQL, by cookie", map[string]string{"Cookie": ana.cookie}, 403, "Forbidden")
	forbidden("a ban by SQL, by session token", bearer(ana.raw), 403, "Forbidden")
	if a := m.get(t, "/api/headers", bearer(ana.jwt)); a.status != 200 {
		t.Errorf("a JWT from before the ban: %d", a.status) // as of its issue
	}
	forbidden("a JWT from after it", bearer(s.freshJWT(t, ana)), 403, "Forbidden")
	s.execute(t, `update "user" set "banExpires" = now() - interval '1 second' where "id" = $1`, ana.id)
	expect("a ban that is over", ana, base)
	s.execute(t, `update "user" set "banned" = false, "banExpires" = null where "id" = $1`, ana.id)
	s.call(t, root, "/admin/ban-user", map[string]any{"userId": ana.id, "banReason": "spam"})
	forbidden("a ban by Better Auth", bearer(ana.raw), 401, "Invalid token")
	s.execute(t, `insert into "session" ("id", "token", "userId", "expiresAt", "createdAt", "updatedAt") values ('kept', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345', $1, now() + interval '1 hour', now(), now())`, ana.id)
	forbidden("a session that was left", bearer("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"), 403, "Forbidden")
	s.call(t, root, "/admin/unban-user", map[string]any{"userId": ana.id})
	if a := m.get(t, "/api/headers", bearer("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345")); a.status != 200 {
		t.Errorf("unban-user: %d %s", a.status, a.body)
	}
}

// Of 300 changes under load none leaves an old fact to the next check: half by Better Auth's own calls, half by SQL.
func TestFactsAreFreshUnderLoad(t *testing.T) {
	s, reader := startPluginsStack(t)
	m := startMesh(t, parts.EnvoyNewest, "http.yaml", "BETTER_AUTH_URL="+s.issuerURL, "DATABASE_URL="+reader,
		"EXTAUTHZ_IDENTITY=role,organization")
	root, ana := s.signUp(t, "Root"), s.signUp(t, "Ana")
	s.execute(t, `update "user" set "role" = 'admin' where "id" = $1`, root.id)
	var organization struct{ ID string }
	a := s.call(t, root, "/organization/create", map[string]any{"name": "one", "slug": "one"})
	if err := json.Unmarshal([]byte(a.body), &organization); err != nil {
		t.Fatal(err)
	}
	s.execute(t, `update "session" set "activeOrganizationId" = $1 where "userId" = $2`, organization.ID, ana.id)

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var checks atomic.Int64
	for range 8 {
		load.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, "GET", m.url+"/api/headers", nil)
				if err != nil {
					return
				}
				request.Header.Set("Cookie", ana.cookie)
				if response, err := client.Do(request); err == nil {
					response.Body.Close()
					checks.Add(1)
				}
			}
		})
	}
	defer load.Wait()
	defer stop()
	const changes = 300
	old := 0
	for i := range changes {
		header, want := "x-user-role", ""
		switch i % 4 {
		case 0, 2: // alternately, and so that each is another than before
			want = []string{"admin", "user"}[i/2%2]
			s.call(t, root, "/admin/set-role", map[string]any{"userId": ana.id, "role": want})
		case 1:
			header, want = "x-user-organization", organization.ID
			s.execute(t, `insert into "member" ("id", "organizationId", "userId", "role", "createdAt") values ('m', $1, $2, 'member', now())`, organization.ID, ana.id)
		case 3:
			header = "x-user-organization"
			s.execute(t, `delete from "member" where "id" = 'm'`)
		}
		if got := received(t, m.get(t, "/api/headers", map[string]string{"Cookie": ana.cookie})); got[header] != want {
			t.Errorf("change %d: %s is %q, want %q", i, header, got[header], want)
			old++
		}
	}
	t.Logf("%d of %d changes left an old fact, beside %d checks", old, changes, checks.Load())
	if checks.Load() < changes {
		t.Errorf("only %d checks beside, so that this was no load", checks.Load())
	}
}
