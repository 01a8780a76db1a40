package extauthz

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/session/redis/secondary"
	"extauthz/extauthz/operator"
)

// startTestRedis starts a server that ends with the test.
func startTestRedis(t testing.TB, arguments ...string) *parts.Redis {
	t.Helper()
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	server, err := installer.StartRedis(t.Context(), t.TempDir(), port, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	return server
}

// redisCommand sends a command that is to succeed.
func redisCommand(t testing.TB, server *parts.Redis, words ...string) {
	t.Helper()
	if reply, err := server.Command(words...); err != nil || strings.HasPrefix(reply, "ERR") {
		t.Fatal(words[0], reply, err)
	}
}

var redisKeys = secondary.Keys{Prefix: secondary.DefaultPrefix}

// keepSession has Redis keep a session of a user that expires in so many seconds.
func keepSession(t testing.TB, server *parts.Redis, keys secondary.Keys, token, user string, seconds int) {
	t.Helper()
	const iso = "2006-01-02T15:04:05.000Z"
	redisCommand(t, server, "SET", keys.Session(token), fmt.Sprintf(`{"session":{"token":%q,"userId":%q,"expiresAt":%q,"createdAt":%q},`+
		`"user":{"id":%q,"email":"ana@example.com","name":"Ana"}}`, token, user,
		time.Unix(in(seconds), 0).UTC().Format(iso), time.Unix(in(-60), 0).UTC().Format(iso), user))
}

// A session token is judged by what Redis keeps, as by a row: each verdict has its reason.
func TestSessionsInRedis(t *testing.T) {
	server := startTestRedis(t)
	a := startAuthorizer(t, Config{RedisURL: server.URL(), JWKSURL: serveKeys(t, testKeys()).URL})
	keepSession(t, server, redisKeys, liveToken, "user-2", 3600)
	keepSession(t, server, redisKeys, expiredToken, "user-2", -1)
	keepSession(t, server, redisKeys, oddToken, `user\r\n3`, 3600)
	redisCommand(t, server, "SET", redisKeys.Session("rubbish-rubbish-rubbish-rubbish1"), "rubbish")
	for round := range 2 {
		expectToken(t, a, liveToken, "")
		expectToken(t, a, expiredToken, ReasonExpired)
		expectToken(t, a, unknownToken, ReasonUnknownSession)
		expectToken(t, a, "rubbish-rubbish-rubbish-rubbish1", ReasonMalformedSession)
		if round == 0 {
			redisCommand(t, server, "SET", redisKeys.Markers("user-2")[0], fmt.Sprint(in(-61)*1000))
		}
	}
	redisCommand(t, server, "SET", redisKeys.Markers("user-2")[0], fmt.Sprint(in(0)*1000))
	expectToken(t, a, liveToken, ReasonUnknownSession)
	redisCommand(t, server, "DEL", redisKeys.Markers("user-2")[0])
	expectToken(t, a, liveToken, "")
	redisCommand(t, server, "DEL", redisKeys.Session(liveToken))
	expectToken(t, a, liveToken, ReasonUnknownSession)
	if parts := a.Parts(); len(parts) != 2 || parts[1].Name != "redis" || !parts[1].OK {
		t.Error(parts)
	}
}

// Who asks gets the user whom Redis names.
func TestRedisNamesTheUser(t *testing.T) {
	server := startTestRedis(t)
	keepSession(t, server, redisKeys, liveToken, "user-2", 3600)
	a := startAuthorizer(t, Config{RedisURL: server.URL(), JWKSURL: serveKeys(t, testKeys()).URL})
	got := map[string]string{}
	for _, option := range decidedByCheck(t, a, bearerRequest(liveToken)).GetOkResponse().GetHeaders() {
		got[option.GetHeader().GetKey()] = option.GetHeader().GetValue()
	}
	for name, expected := range map[string]string{operator.HeaderUserID: "user-2", operator.HeaderUserEmail: "ana@example.com",
		operator.HeaderUserName: "Ana", operator.HeaderMethod: "session", operator.HeaderExpiresAt: fmt.Sprint(in(3600))} {
		if got[name] != expected {
			t.Errorf("%s: %q, expected %q", name, got[name], expected)
		}
	}
}

// Redis first, and on a miss the row, as Better Auth does with storeSessionInDatabase. What Redis refuses is not asked
// of the database, and neither is what it cannot say.
func TestRedisThenTheRow(t *testing.T) {
	server := startTestRedis(t)
	a := startAuthorizer(t, Config{RedisURL: server.URL(), DatabaseURL: sessionsDatabase(t), JWKSURL: serveKeys(t, testKeys()).URL,
		budget: 2 * time.Second})
	expectToken(t, a, liveToken, "") // the row's
	expectToken(t, a, expiredToken, ReasonExpired)
	expectToken(t, a, unknownToken, ReasonUnknownSession)
	redisCommand(t, server, "SET", redisKeys.Session(liveToken), "")
	expectToken(t, a, liveToken, "") // an empty text is none, as there
	redisCommand(t, server, "SET", redisKeys.Session(liveToken), "rubbish")
	expectToken(t, a, liveToken, ReasonMalformedSession)
	keepSession(t, server, redisKeys, liveToken, "user-2", 3600)
	redisCommand(t, server, "SET", redisKeys.Markers("user-2")[0], fmt.Sprint(in(0)*1000))
	expectToken(t, a, liveToken, ReasonUnknownSession)
	redisCommand(t, server, "DEL", redisKeys.Markers("user-2")[0])
	keepSession(t, server, redisKeys, unknownToken, "user-2", 3600)
	expectToken(t, a, unknownToken, "") // Redis alone
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := checkToken(t, a, liveToken); got != ReasonRedisUnavailable && got != ReasonTimeBudgetSpent {
			t.Errorf("reason %q while Redis is away, and the row is there", got)
		}
	}
}

// Adapters of people's own: no prefix, another prefix, tokens by their hash.
func TestRedisAdapters(t *testing.T) {
	server := startTestRedis(t)
	for prefix, config := range map[string]Config{
		"":     {RedisPrefix: "none"},
		"app:": {RedisPrefix: "app:"},
		"h:":   {RedisPrefix: "h:", RedisHashedTokens: true},
	} {
		redisCommand(t, server, "FLUSHALL")
		keys := secondary.Keys{Prefix: prefix, Hashed: config.RedisHashedTokens}
		config.RedisURL, config.JWKSURL = server.URL(), serveKeys(t, testKeys()).URL
		a := startAuthorizer(t, config)
		keepSession(t, server, keys, liveToken, "user-2", 3600)
		expectToken(t, a, liveToken, "")
		a.SetSecrets([]byte(testSecret), nil) // makes the issuer anew, and leaves Redis as it is
		expectToken(t, a, liveToken, "")
		for _, marker := range keys.Markers("user-2") { // one after the other
			redisCommand(t, server, "SET", marker, fmt.Sprint(in(0)*1000))
			expectToken(t, a, liveToken, ReasonUnknownSession)
			redisCommand(t, server, "DEL", marker)
		}
	}
	for field, config := range map[string]Config{
		"RedisURL": {RedisURL: "http://h"}, "RedisPrefix": {RedisPrefix: "x"}, "RedisHashedTokens": {RedisHashedTokens: true},
		"ReadRedisURL": {ReadRedisURL: func() (string, error) { return "", nil }},
	} {
		config.Issuer, config.Audiences = testIssuer, []string{testAudience}
		if _, err := New(config); err == nil || !strings.HasPrefix(err.Error(), "Config."+field) && !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A password that changes in the file is used by new connections, and another server at once.
func TestRedisURLIsFollowed(t *testing.T) {
	first, second := startTestRedis(t, "--requirepass", "one"), startTestRedis(t)
	file := filepath.Join(t.TempDir(), "url")
	write := func(url string) {
		if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	withPassword := strings.Replace(first.URL(), "//", "//:one@", 1)
	write(withPassword)
	read := func() (string, error) {
		content, err := os.ReadFile(file)
		return string(content), err
	}
	a := startAuthorizer(t, Config{RedisURL: withPassword, ReadRedisURL: read, JWKSURL: serveKeys(t, testKeys()).URL})
	keepSession(t, second, redisKeys, liveToken, "user-2", 3600)
	expectToken(t, a, liveToken, ReasonUnknownSession)
	write(second.URL())
	for deadline := time.Now().Add(time.Minute); checkToken(t, a, liveToken) != ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other server is not asked")
		}
	}
}

// Each thing that can be wrong with Redis is found, and said with its fix.
func TestDiagnoseRedis(t *testing.T) {
	server := startTestRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	redisCommand(t, server, "ACL", "SETUSER", "reader", "on", ">secret", "resetkeys", "%R~better-auth:*", "-@all", "+get", "+role")
	keys := serveKeys(t, testKeys()).URL
	for title, c := range map[string]struct{ url, expected string }{
		"anyone":         {server.URL() + "?famly=4", "parameters warning, connect ok, password warning, eviction warning, rights warning"},
		"a reader":       {strings.Replace(server.URL(), "//", "//reader:secret@", 1), "connect ok, eviction ok, rights ok"},
		"wrong password": {strings.Replace(server.URL(), "//", "//reader:wrong@", 1), "connect failure"},
		"nobody there":   {"redis://127.0.0.1:1", "connect failure"},
		"no Sentinel":    {strings.Replace(server.URL(), "redis", "redis-sentinel", 1) + "/main", "connect failure"},
		"no Cluster":     {strings.Replace(server.URL(), "redis", "redis-cluster", 1), "connect failure"},
	} {
		a, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, RedisURL: c.url, JWKSURL: keys})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range a.Operator().Diagnose(context.Background()) {
			if f.Part != "redis" {
				continue
			}
			level := map[operator.Level]string{operator.LevelOK: "ok", operator.LevelWarning: "warning", operator.LevelFailure: "failure"}[f.Level]
			got = append(got, f.Tried+" "+level)
			if strings.Contains(f.Found+f.Fix, "secret") || level != "ok" && f.Fix == "" {
				t.Errorf("%s: %+v", title, f)
			}
		}
		if strings.Join(got, ", ") != c.expected {
			t.Errorf("%s: %s, expected %s", title, strings.Join(got, ", "), c.expected)
		}
		a.Close()
	}
}

// Facts and bans are what the value's user and session say; a membership is a row's.
func TestFactsAndBansFromRedis(t *testing.T) {
	server := startTestRedis(t)
	keys := serveKeys(t, testKeys()).URL
	facts := []string{"role", "email-verified", "session-id", "user.tags=x-user-tags", "session.device=x-auth-device"}
	a := startAuthorizer(t, Config{RedisURL: server.URL(), JWKSURL: keys, Identity: facts})
	put := func(user string) {
		redisCommand(t, server, "SET", redisKeys.Session(liveToken), fmt.Sprintf(`{"session":{"id":"s1","token":%q,"userId":"u","expiresAt":%d,`+
			`"device":null},"user":{"id":"u","role":"admin,user","emailVerified":true,"tags":["a","b"]%s}}`, liveToken, in(3600)*1000, user))
	}
	put("")
	got := map[string]string{}
	for _, option := range decidedByCheck(t, a, bearerRequest(liveToken)).GetOkResponse().GetHeaders() {
		got[option.GetHeader().GetKey()] = option.GetHeader().GetValue()
	}
	for name, expected := range map[string]string{"x-user-role": "admin,user", "x-user-email-verified": "true", "x-auth-session-id": "s1",
		"x-user-tags": "a,b", "x-auth-device": ""} {
		if got[name] != expected {
			t.Errorf("%s: %q, expected %q", name, got[name], expected)
		}
	}
	for user, expected := range map[string]Reason{
		`,"banned":true`:                                           ReasonUserBanned,
		`,"banned":true,"banExpires":null`:                         ReasonUserBanned,
		`,"banned":true,"banExpires":"soon"`:                       ReasonUserBanned,
		fmt.Sprintf(`,"banned":true,"banExpires":%d`, in(1)*1000):  ReasonUserBanned,
		fmt.Sprintf(`,"banned":true,"banExpires":%d`, in(-1)*1000): "",
		`,"banned":"yes"`:                                          ReasonUserBanned,
		`,"banned":false`:                                          "",
		`,"banned":null,"banExpires":null`:                         "",
		`,"banned":0`:                                              "",
	} {
		put(user)
		if expectToken(t, a, liveToken, expected); t.Failed() {
			t.Fatal(user)
		}
	}
	_, err := New(Config{Issuer: testIssuer, Audiences: []string{testAudience}, RedisURL: server.URL(), Identity: []string{"organization"}})
	if err == nil || !strings.Contains(err.Error(), "DatabaseURL") {
		t.Errorf("the organization without a database: %v", err)
	}
}

// With both stores the session is in Redis, and the membership in the database, of the row that Better Auth keeps as well.
func TestOrganizationBesideRedis(t *testing.T) {
	server := startTestRedis(t)
	url := newDatabaseURL(t, append(liveSession(),
		`alter table "session" add column "activeOrganizationId" text`,
		`create table "member" ("id" text primary key, "organizationId" text not null, "userId" text not null, "role" text not null)`,
		`update "session" set "activeOrganizationId" = 'o1'`, `insert into "member" values ('m1', 'o1', 'user-2', 'owner')`)...)
	a := startAuthorizer(t, Config{RedisURL: server.URL(), DatabaseURL: url, JWKSURL: serveKeys(t, testKeys()).URL, Identity: []string{"organization"}})
	keepSession(t, server, redisKeys, liveToken, "user-2", 3600)
	organization := func() string {
		got := ""
		for _, option := range decidedByCheck(t, a, bearerRequest(liveToken)).GetOkResponse().GetHeaders() {
			if strings.HasPrefix(option.GetHeader().GetKey(), "x-user-organization") {
				got += option.GetHeader().GetValue() + " "
			}
		}
		return got
	}
	if got := organization(); got != "o1 owner " {
		t.Errorf("%q", got)
	}
	execute(t, url, `delete from "member"`)
	if got := strings.TrimSpace(organization()); got != "" {
		t.Errorf("%q after the member was removed", got)
	}
	execute(t, url, `delete from "session"`)
	expectToken(t, a, liveToken, "") // Redis has it
	if got := strings.TrimSpace(organization()); got != "" {
		t.Errorf("%q without a row", got)
	}
}
