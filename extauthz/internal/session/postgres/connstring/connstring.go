// Package connstring reads a connection string of any driver into pgx's configuration. It imports parameter and syntax,
// and connects to nothing. Its errors never hold any part of the string but names of parameters.
package connstring

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"extauthz/extauthz/internal/session/postgres/connstring/syntax"
)

// maxConnectTimeout bounds the time for making one connection, whatever the connection string says.
const maxConnectTimeout = 2 * time.Second

// text is what a connection string says, whichever its form.
type text struct {
	values   map[string]string // by libpq's keyword
	runtime  map[string]string // run-time parameters for the server
	schema   string            // Prisma's schema, empty when not given
	leftOut  []string          // names of parameters that nobody knows, sorted
	hostaddr []string          // by host, as libpq pairs them
	timeout  time.Duration     // for making a connection; 0 when not given
	oldest   uint16            // TLS version, 0 when not given
	newest   uint16            // TLS version, 0 when not given
}

// Parse reads a connection string as libpq does (URL, or keyword=value) and as node-postgres does where
// libpq refuses it, and knows the parameters of other drivers. What both accept and mean differently is an error,
// except where libpq's manual is explicit: see docs/database.md. schema is Prisma's, empty when not given.
// Its errors never hold any part of the string but names of parameters.
func Parse(dsn string) (config *pgxpool.Config, schema string, err error) {
	c, err := readConnectionString(dsn)
	if err != nil {
		return nil, "", err
	}
	config, err = c.config()
	return config, c.schema, err
}

// Unknown names the parameters of a connection string that were left out, since no driver is known to have
// them.
func Unknown(dsn string) []string {
	c, err := readConnectionString(dsn)
	if err != nil {
		return nil
	}
	if _, err := c.config(); err != nil {
		return nil
	}
	return c.leftOut
}

func readConnectionString(dsn string) (*text, error) {
	dsn = strings.TrimSpace(dsn)
	if quote := strings.IndexAny(dsn, `"'`); quote == 0 && strings.HasSuffix(dsn[1:], dsn[:1]) {
		return nil, errors.New("is in quotes, which some tools do not remove; write it without them")
	}
	if strings.ContainsFunc(dsn, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
	}) {
		return nil, syntax.ErrNotConnectionString
	}
	pairs, err := readPairs(dsn)
	if err != nil {
		return nil, err
	}
	c := &text{values: map[string]string{}, runtime: map[string]string{}}
	if err := c.sort(pairs); err != nil {
		return nil, err
	}
	if err := c.checkHosts(); err != nil {
		return nil, err
	}
	return c, nil
}

// readPairs tells the forms of a connection string apart.
func readPairs(dsn string) ([]syntax.Pair, error) {
	// JDBC writes its own scheme before PostgreSQL's.
	if len(dsn) > 5 && strings.EqualFold(dsn[:5], "jdbc:") {
		dsn = dsn[5:]
	}
	if len(dsn) > 7 && strings.EqualFold(dsn[:7], "socket:") {
		return syntax.ReadSocketURL(dsn[7:])
	}
	if strings.HasPrefix(dsn, "/") { // node-postgres: a socket's folder, and a database behind a space
		folder, database, _ := strings.Cut(dsn, " ")
		if strings.ContainsAny(folder, "@?#=") {
			return nil, syntax.ErrNotConnectionString
		}
		return []syntax.Pair{{Name: "host", Value: folder}, {Name: "dbname", Value: database}}, nil
	}
	if scheme, rest, isURL := strings.Cut(dsn, "://"); isURL && !strings.ContainsAny(scheme, " =\t\r\n'") {
		return syntax.ReadURL(scheme, rest)
	}
	return syntax.ReadKeywords(dsn)
}

// config makes pgx's configuration. pgx reads what the string leaves out from the PG* environment variables, a service
// file, a password file and ~/.postgresql, as libpq does.
func (c *text) config() (*pgxpool.Config, error) {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.values)) {
		fmt.Fprintf(&text, "%s='%s' ", name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(c.values[name]))
	}
	config, err := pgxpool.ParseConfig(text.String())
	if err != nil {
		return nil, c.explain(err)
	}
	connection := config.ConnConfig
	// What a service file or the environment said goes the same way as the string's own parameters.
	for name, value := range connection.RuntimeParams {
		if name == "application_name" || name == "options" {
			continue
		}
		delete(connection.RuntimeParams, name)
		if err := c.put(name, value); err != nil {
			return nil, err
		}
	}
	maps.Copy(connection.RuntimeParams, c.runtime)
	connection.ConnectTimeout = maxConnectTimeout
	if c.timeout > 0 {
		connection.ConnectTimeout = min(c.timeout, maxConnectTimeout)
	}
	if connection.RuntimeParams["application_name"] == "" {
		connection.RuntimeParams["application_name"] = "extauthz"
	}
	for _, way := range append([]*tls.Config{connection.TLSConfig}, fallbackTLS(connection)...) {
		if way != nil {
			way.MinVersion, way.MaxVersion = max(way.MinVersion, c.oldest), c.newest
		}
	}
	if len(c.hostaddr) > 0 {
		c.pin(connection)
	}
	// Unnamed statements, unless a query says otherwise: named ones do not survive poolers that hand each
	// transaction another server connection.
	connection.DefaultQueryExecMode = pgx.QueryExecModeExec
	// A dead connection is noticed by its query, which is then sent again; a ping before it would
	// make every check that comes after a pause wait twice.
	config.ShouldPing = func(_ context.Context, _ pgxpool.ShouldPingParams) bool { return false }
	return config, nil
}

func fallbackTLS(connection *pgx.ConnConfig) []*tls.Config {
	var configs []*tls.Config
	for _, fallback := range connection.Fallbacks {
		configs = append(configs, fallback.TLSConfig)
	}
	return configs
}

// explain says which part of the string pgx did not take, without saying what is in it: pgx quotes values.
func (c *text) explain(err error) error {
	if c.values["service"] != "" && strings.Contains(err.Error(), "service") {
		return errors.New("names a service that no service file has (PGSERVICEFILE, or ~/.pg_service.conf)")
	}
	for _, name := range []string{"sslrootcert", "sslcert", "sslkey"} {
		path := c.values[name]
		if path == "" || name == "sslrootcert" && path == "system" {
			continue
		}
		file, openErr := os.Open(path)
		if openErr != nil {
			if pathErr, ok := errors.AsType[*os.PathError](openErr); ok {
				openErr = pathErr.Err
			}
			return fmt.Errorf("has %s, a file that cannot be read: %w", name, openErr)
		}
		file.Close()
	}
	if (c.values["sslcert"] == "") != (c.values["sslkey"] == "") {
		return errors.New("has one of sslcert and sslkey; " +
			"give both, or, for the authority's certificate (Prisma's sslcert), sslrootcert")
	}
	if strings.Contains(err.Error(), "failed to configure TLS") {
		return errors.New("has sslrootcert, sslcert, sslkey or sslpassword that do not make a TLS configuration; " +
			"see that they are PEM and belong together")
	}
	return syntax.ErrNotConnectionString
}

// pin makes the addresses of hostaddr those of their hosts: libpq connects to the address, and takes the host for
// the certificate's name.
func (c *text) pin(connection *pgx.ConnConfig) {
	addresses := map[string][]string{}
	for i, host := range strings.Split(c.values["host"], ",") {
		if c.hostaddr[i] != "" {
			addresses[host] = append(addresses[host], c.hostaddr[i])
		}
	}
	lookUp := connection.LookupFunc
	connection.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if pinned := addresses[host]; pinned != nil {
			return pinned, nil
		}
		return lookUp(ctx, host)
	}
}

// socketFile is a Unix socket itself, by which asyncpg and pg8000 connect where libpq takes its folder and a port.
var socketFile = regexp.MustCompile(`^(/[^,]*)/\.s\.PGSQL\.([0-9]+)$`)

// checkHosts refuses hosts that no name or address can be: such text is a password that was not escaped, and an error
// of the resolver would show it.
func (c *text) checkHosts() error {
	if socket := socketFile.FindStringSubmatch(c.values["host"]); socket != nil {
		c.values["host"], c.values["port"] = socket[1], socket[2]
	}
	hosts := strings.Split(c.values["host"], ",")
	if len(c.hostaddr) > 0 {
		switch {
		case c.values["host"] == "":
			hosts = c.hostaddr
			c.values["host"] = strings.Join(hosts, ",")
		case len(c.hostaddr) != len(hosts):
			return fmt.Errorf("has %d host addresses (hostaddr) for %d hosts; give one for each", len(c.hostaddr), len(hosts))
		}
	}
	for _, host := range slices.Concat(hosts, c.hostaddr) {
		if strings.HasPrefix(host, "/") {
			continue // a socket's folder
		}
		if strings.HasPrefix(host, "@") && c.values["password"] == "" {
			return errors.New("names an abstract Unix socket, which is not supported; name a folder, or a host")
		}
		if strings.ContainsFunc(host, isNoHostRune) {
			return syntax.ErrAmbiguous
		}
	}
	ports := strings.Split(c.values["port"], ",")
	for i, port := range ports {
		ports[i] = strings.TrimSpace(port)
		if number, err := strconv.ParseUint(ports[i], 10, 16); ports[i] != "" && (err != nil || number == 0) {
			return syntax.ErrNotConnectionString
		}
	}
	if c.values["port"] != "" {
		c.values["port"] = strings.Join(ports, ",")
	}
	if len(ports) > 1 && len(ports) != len(hosts) {
		return fmt.Errorf("has %d ports for %d hosts; give one for all, or one for each", len(ports), len(hosts))
	}
	return nil
}

func isNoHostRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-:%", r):
		// %: a zone (RFC 4007)
		return false
	}
	return r < 0x80 || r == '\uFFFD' // an internationalised name has letters beyond ASCII
}
