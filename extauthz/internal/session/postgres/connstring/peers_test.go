package connstring

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"extauthz/envoy/parts"
	"extauthz/extauthz/internal/session/postgres/connstring/syntax"
)

// reached is what a client told the server: the meaning of its connection string.
type reached struct{ User, Password, Database, Options, ApplicationName, Others string }

// recordingServer speaks PostgreSQL's protocol until it has the password, and refuses then. A real server would not
// tell which password it was given, nor whether an empty setting was sent.
type recordingServer struct {
	port   int
	folder string // of its socket
	heard  chan reached
}

func startRecordingServer(t *testing.T) *recordingServer {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "pg") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &recordingServer{port: listener.Addr().(*net.TCPAddr).Port, folder: folder, heard: make(chan reached, 16)}
	socket, err := net.Listen("unix", filepath.Join(folder, fmt.Sprintf(".s.PGSQL.%d", s.port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); socket.Close(); os.RemoveAll(folder) })
	for _, l := range []net.Listener{listener, socket} {
		go func() {
			for {
				connection, err := l.Accept()
				if err != nil {
					return
				}
				s.serve(connection) // one after the other, so that settle can tell that all were heard
			}
		}()
	}
	return s
}

func (s *recordingServer) serve(connection net.Conn) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(20 * time.Second))
	backend := pgproto3.NewBackend(connection, connection)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		startup, ok := message.(*pgproto3.StartupMessage)
		if !ok { // TLS or GSSAPI
			connection.Write([]byte("N"))
			continue
		}
		heard := reached{User: startup.Parameters["user"], Database: startup.Parameters["database"], Options: startup.Parameters["options"],
			ApplicationName: startup.Parameters["application_name"]}
		for name := range startup.Parameters {
			if !slices.Contains([]string{"user", "database", "options", "application_name", "client_encoding"}, name) {
				heard.Others += name + " "
			}
		}
		heard.Database = cmp.Or(heard.Database, heard.User)
		if heard.ApplicationName == "psql" || heard.ApplicationName == "extauthz" { // each one's default
			heard.ApplicationName = ""
		}
		backend.Send(&pgproto3.AuthenticationCleartextPassword{})
		backend.Flush()
		backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		if answer, err := backend.Receive(); err == nil {
			if password, ok := answer.(*pgproto3.PasswordMessage); ok {
				heard.Password = password.Password
			}
		}
		s.heard <- heard
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "heard"})
		backend.Flush()
		return
	}
}

// last is what the server heard since it was asked last; nil when nobody came. It comes itself to both listeners, and
// whoever came before has been heard by then.
func (s *recordingServer) last(t *testing.T) (first *reached) {
	const sentinel = "the test itself"
	for network, address := range map[string]string{"tcp4": fmt.Sprintf("127.0.0.1:%d", s.port), "unix": filepath.Join(s.folder, fmt.Sprintf(".s.PGSQL.%d", s.port))} {
		connection, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		frontend := pgproto3.NewFrontend(connection, connection)
		frontend.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": sentinel}})
		frontend.Flush()
		frontend.Receive()
		connection.Close()
		for heard := range s.heard {
			if heard.User == sentinel {
				break
			}
			if first == nil { // the others are further hosts of a list
				first = &heard
			}
		}
	}
	return first
}

// psql gives a connection string to libpq.
func (s *recordingServer) psql(t *testing.T, psql, dsn string) *reached {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, psql, "-X", "-w", "-c", "select 1", "-d", dsn)
	command.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH"), "PGSSLMODE=disable", "PGUSER=default", "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH")}
	_, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatal("psql does not end")
	}
	if err == nil {
		t.Fatal("psql was not refused")
	}
	return s.last(t)
}

// ours is what parseDatabaseURL makes of it, connected where it says.
func (s *recordingServer) ours(t *testing.T, dsn string) (*reached, string, error) {
	config, _, err := Parse(dsn)
	if err != nil {
		return nil, "", err
	}
	c := config.ConnConfig
	addresses := []string{c.Host}
	if !strings.HasPrefix(c.Host, "/") {
		if addresses, err = c.LookupFunc(t.Context(), c.Host); err != nil {
			return nil, c.Host + ":" + strconv.Itoa(int(c.Port)), nil
		}
	}
	if int(c.Port) != s.port || addresses[0] != "127.0.0.1" && addresses[0] != s.folder {
		return nil, c.Host + ":" + strconv.Itoa(int(c.Port)), nil
	}
	c.ConnectTimeout = 20 * time.Second
	connection, err := pgx.ConnectConfig(t.Context(), c)
	if err == nil {
		connection.Close(t.Context())
		return nil, "", errors.New("was not refused")
	}
	return s.last(t), "", nil
}

// node gives all connection strings to node-postgres' parser: what its client would send, null where it throws.
func node(t *testing.T, folder string, dsns []string) []*struct {
	reached
	Host string
	Port int
} {
	script := `const CP = require('pg/lib/connection-parameters');
const all = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(all.map((dsn) => { try { const c = new CP(dsn);
return { User: c.user || '', Password: c.password || '', Database: c.database || '', Options: c.options || '',
ApplicationName: c.application_name || c.fallback_application_name || '', Host: c.host, Port: c.port } } catch (e) { return null } })))`
	input, err := json.Marshal(dsns)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("node", "--no-warnings", "-e", script)
	command.Dir, command.Stdin = folder, bytes.NewReader(input)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "USER=default", "PGUSER=default"}
	output, err := command.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, output)
	}
	var read []*struct {
		reached
		Host string
		Port int
	}
	if err := json.Unmarshal(output, &read); err != nil {
		t.Fatal(err)
	}
	if len(read) != len(dsns) {
		t.Fatalf("%d answers for %d connection strings", len(read), len(dsns))
	}
	return read
}

// generatedStrings are made of what is hard in connection strings, the same ones each time.
func generatedStrings(count int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(choices ...string) string { return choices[random.IntN(len(choices))] }
	pieces := []string{"a", "Z", "0", "9", "%40", "%2F", "%2f", "%20", "%25", "%", "%4", "@", ":", " ", "+", "#", "?", "=", "&", ";", ",", "!", "'", `"`, `\`, "[", "]", "é", "~", "%C3%A9", "-"}
	text := func(most int) string {
		var b strings.Builder
		for range 1 + random.IntN(most) {
			b.WriteString(pick(pieces...))
		}
		return b.String()
	}
	var made []string
	for range count {
		var b strings.Builder
		if random.IntN(5) == 0 {
			b.WriteString("host=127.0.0.1 port=PORT user=u ")
			for range random.IntN(3) {
				b.WriteString(pick("password", "application_name", "dbname", "options") + pick("=", " = ", "=  "))
				if random.IntN(2) == 0 {
					b.WriteString("'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text(5)) + "' ")
				} else {
					b.WriteString(text(4) + " ")
				}
			}
			made = append(made, b.String())
			continue
		}
		b.WriteString(pick("postgresql", "postgres") + "://")
		switch random.IntN(6) {
		case 0:
		case 1:
			b.WriteString(pick("u", "u%40x", "") + "@")
		default:
			b.WriteString(pick("u", "u.x", "u%2Fv") + ":" + text(5) + "@")
		}
		b.WriteString(pick("127.0.0.1:PORT", "127.0.0.1:PORT", "127.0.0.1:PORT", "127.0.0.1:PORT,127.0.0.1:PORT", "FOLDER_ENCODED:PORT"))
		b.WriteString(pick("/d", "/d", "/d%20e", "/", "", "/d-e"))
		if n := random.IntN(4); n > 0 {
			b.WriteString("?")
			for i := range n {
				if i > 0 {
					b.WriteString("&")
				}
				b.WriteString(pick("application_name="+pick("x", "x%20y", "x y", "x+y", "%C3%A9", "x=y", "x%3Dy", "%zz"), "options="+pick("-c%20a.b%3D1", "-c a.b=1", "--a.b%3D1", "-c%20a.b=1", "-ca.b%3D1"),
					"connect_timeout="+pick("5", "0", "-1", "x"), "keepalives=1", "gssencmode="+pick("disable", "prefer"), "sslmode=disable", "max=10", "supa=x", "user="+pick("w", "w%40x", "w@x"),
					"password="+pick("s", "s%2Bt", "s+t", "s%20t"), "dbname="+pick("e", "e%2Ff"), "target_session_attrs=any", "hostaddr=127.0.0.1", "pgbouncer", "nobody_knows=1"))
			}
		}
		made = append(made, b.String())
	}
	return made
}

// What psql or node-postgres takes is taken, and means the same. Where they differ from each other psql's reading
// counts, and what both take for different places is refused.
func TestConnectionStringsMeanWhatTheyMeanToPeers(t *testing.T) {
	t.Setenv("PGSSLMODE", "disable")
	t.Setenv("PGUSER", "default")
	t.Setenv("HOME", "/nonexistent")
	installer, err := parts.NewInstaller(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := installer.Postgres()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := installer.Issuer()
	if err != nil {
		t.Fatal(err)
	}
	psql := filepath.Join(bin, "psql")
	if _, err := os.Stat(psql); err != nil {
		t.Fatal(err)
	}
	server := startRecordingServer(t)
	corpus, err := os.ReadFile("testdata/connection_strings.txt")
	if err != nil {
		t.Fatal(err)
	}
	var dsns []string
	for line := range strings.Lines(string(corpus)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			dsns = append(dsns, line)
		}
	}
	written := len(dsns)
	dsns = append(dsns, generatedStrings(300)...)
	place := strings.NewReplacer("PORT", strconv.Itoa(server.port), "FOLDER_ENCODED", url.QueryEscape(server.folder), "FOLDER", server.folder)
	for i := range dsns {
		dsns[i] = place.Replace(dsns[i])
	}
	nodes := node(t, issuer, dsns)
	byPSQL, byNode, byNeither, ambiguous := 0, 0, 0, 0
	for i, dsn := range dsns {
		want, whose := server.psql(t, psql, dsn), "psql"
		if want == nil {
			whose = "node-postgres"
			if n := nodes[i]; n != nil && n.Port == server.port && (n.Host == "127.0.0.1" || n.Host == server.folder) {
				want = &n.reached
			}
		} else {
			byPSQL++
		}
		got, elsewhere, err := server.ours(t, dsn)
		switch {
		case want == nil:
			byNeither++
			if i >= written && elsewhere != "" {
				t.Errorf("%s\nleads to %s, and neither psql nor node-postgres takes it", dsn, elsewhere)
			}
		case errors.Is(err, syntax.ErrAmbiguous) && strings.Contains(dsn[:strings.LastIndex(dsn, "@")+1], "?"):
			ambiguous++ // host?user=me@example.com or user:pass?word=1@host: refused on purpose, see splitURL
		case err != nil || elsewhere != "" || got == nil:
			t.Errorf("%s\n%s takes it: %+v\nhere it is refused: %v %s", dsn, whose, *want, err, elsewhere)
		case whose == "node-postgres" && strings.Contains(dsn, "dbname="): // which it does not know, and others do
		case *got != *want:
			t.Errorf("%s\n%s: %+v\nhere: %+v", dsn, whose, *want, *got)
		}
		if whose == "node-postgres" && want != nil {
			byNode++
		}
	}
	t.Logf("%d strings: %d by psql, %d by node-postgres only, %d by neither, %d refused as ambiguous", len(dsns), byPSQL, byNode, byNeither, ambiguous)
	if byPSQL < 100 || byNode < 30 || byNeither < 10 {
		t.Error("too few strings of a kind: the test does not compare what it is to compare")
	}
}
