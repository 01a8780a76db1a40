package parts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server on 127.0.0.1 with a data folder of its own.
type Postgres struct {
	*Process
	Port int

	bin, folder string
}

// StartPostgres makes a fresh server with its files in folder.
func (in *Installer) StartPostgres(ctx context.Context, folder string, port int) (*Postgres, error) {
	bin, err := in.Postgres()
	if err != nil {
		return nil, err
	}
	p := &Postgres{Port: port, bin: bin, folder: folder}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", p.data(), "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.SysProcAttr = asOrdinaryUser()
	if output, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, output)
	}
	return p, p.Start(ctx)
}

// StartStandby makes a hot standby that follows p, with its files in folder.
func (p *Postgres) StartStandby(ctx context.Context, folder string, port int) (*Postgres, error) {
	standby := &Postgres{Port: port, bin: p.bin, folder: folder}
	copying := exec.CommandContext(ctx, filepath.Join(p.bin, "pg_basebackup"), "--pgdata", standby.data(), "--host",
		"127.0.0.1", "--port", strconv.Itoa(p.Port),
		"--username", "postgres", "--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
	copying.SysProcAttr = asOrdinaryUser()
	if output, err := copying.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, output)
	}
	return standby, standby.Start(ctx)
}

// Start runs the server, for the first time or again after a Stop.
func (p *Postgres) Start(ctx context.Context) error {
	command := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.data(), "-h", "127.0.0.1", "-p",
		strconv.Itoa(p.Port),
		"-k", "", "-c", "fsync=off", "-c", "max_connections=200")
	command.SysProcAttr = asOrdinaryUser()
	process, err := Start("postgres", p.folder, nil, command)
	if err != nil {
		return err
	}
	p.Process = process
	return p.Await(ctx, func(ctx context.Context) error {
		connection, err := pgx.Connect(ctx, p.URL("postgres"))
		if err != nil {
			return err
		}
		return connection.Close(ctx)
	})
}

// Stop ends the server without waiting for its clients.
func (p *Postgres) Stop() error {
	_ = p.Signal(syscall.SIGINT) // PostgreSQL's fast shutdown
	return p.Process.Stop()
}

func (p *Postgres) data() string { return filepath.Join(p.folder, "postgres") }

// URL is the connection string of one of the server's databases, as its superuser.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgresql://postgres@127.0.0.1:%d/%s?sslmode=disable", p.Port, database)
}

// CreateDatabase makes an empty database and returns its URL.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) (string, error) {
	connection, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer connection.Close(ctx)
	_, err = connection.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize())
	return p.URL(name), err
}

// Reader is the role of docs/reader.sql, which extauthz is to connect as.
const Reader = "extauthz_reader"

// ReaderURL lets Reader read Better Auth's tables in a database, whose URL is its owner's, and returns the URL for
// extauthz.
func (in *Installer) ReaderURL(ctx context.Context, owner string) (string, error) {
	statements, err := os.ReadFile(filepath.Join(in.root, "docs", "reader.sql"))
	if err != nil {
		return "", err
	}
	connection, err := pgx.Connect(ctx, owner)
	if err != nil {
		return "", err
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, string(statements)); err != nil {
		return "", fmt.Errorf("docs/reader.sql: %w", err)
	}
	return strings.Replace(owner, "//postgres@", "//"+Reader+"@", 1), nil
}

// asOrdinaryUser lets root run PostgreSQL, which refuses to run as root: in a user namespace where
// root's number is another, so that files stay readable as they are.
func asOrdinaryUser() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
	}
}
