package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// redisPackages are Debian's packages with redis-server and the libraries that a plain system lacks.
var redisPackages = []string{"redis-server", "redis-tools", "libjemalloc2", "liblzf1"}

// Redis returns the folder of Redis' programs, and that of their libraries. A redis-server of the machine's own is used
// where there is one; else Debian's packages are unpacked, which needs no root.
func (in *Installer) Redis() (programs, libraries string, err error) {
	if own, err := exec.LookPath("redis-server"); err == nil {
		return filepath.Dir(own), "", nil
	}
	folder := in.folder("redis")
	err = in.once("redis", "Redis 7.0", strings.Join(redisPackages, " "), func() error {
		// With lists of its own: a new machine has none, and its own may be written by root alone. Without _apt's sandbox,
		// which would want to write where it may not.
		apt := filepath.Join(folder, "apt")
		defer os.RemoveAll(apt)
		for _, needed := range []string{"state/lists/partial", "cache/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(apt, needed), 0o755); err != nil {
				return err
			}
		}
		settings := []string{
			"-o", "APT::Sandbox::User=root", "-o", "Dir::State=" + apt + "/state", "-o", "Dir::Cache=" + apt + "/cache",
		}
		if _, err := exec.LookPath("apt-get"); err != nil {
			return errors.New("redis-server is missing, and so is apt-get, which would fetch it; install Redis")
		}
		if err := in.command(folder, "apt-get", append(settings, "update")...); err != nil {
			return err
		}
		if err := in.command(folder, "apt-get", append(append(settings, "download"), redisPackages...)...); err != nil {
			return err
		}
		packages, err := filepath.Glob(filepath.Join(folder, "*.deb"))
		if err != nil {
			return err
		}
		for _, one := range packages {
			if err := in.command(folder, "dpkg-deb", "-x", one, folder); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	found, err := filepath.Glob(filepath.Join(folder, "usr", "lib", "*", "libjemalloc.so*"))
	if err != nil || len(found) == 0 {
		return "", "", errors.New("the packages hold no libjemalloc.so")
	}
	return filepath.Join(folder, "usr", "bin"), filepath.Dir(found[0]), nil
}

// Redis is a Redis server, or a Sentinel, on 127.0.0.1 with a folder of its own.
type Redis struct {
	*Process
	Port int

	programs, libraries, folder, name string
	arguments                         []string
}

// StartRedis makes a fresh server with its files in folder; arguments are as in redis.conf, each word one. What it
// keeps outlives a Stop.
func (in *Installer) StartRedis(ctx context.Context, folder string, port int, arguments ...string) (*Redis, error) {
	programs, libraries, err := in.Redis()
	if err != nil {
		return nil, err
	}
	r := &Redis{Port: port, programs: programs, libraries: libraries, folder: folder, name: "redis-" + strconv.Itoa(port),
		arguments: append([]string{"--save", "", "--appendonly", "yes", "--appendfsync", "no"}, arguments...)}
	return r, r.Start(ctx)
}

// StartSentinel makes a Sentinel that looks after a master by a name.
func (in *Installer) StartSentinel(
	ctx context.Context, folder string, port int, master *Redis, name string, quorum int,
) (*Redis, error) {
	config := filepath.Join(folder, fmt.Sprintf("sentinel-%d.conf", port))
	text := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d\nsentinel down-after-milliseconds %s 1000\n"+
		"sentinel failover-timeout %s 5000\n", name, master.Port, quorum, name, name)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r := &Redis{Port: port, programs: master.programs, libraries: master.libraries, folder: folder,
		name: "sentinel-" + strconv.Itoa(port), arguments: []string{config, "--sentinel"}}
	return r, r.Start(ctx)
}

// Start runs the server, for the first time or again after a Stop.
func (r *Redis) Start(ctx context.Context) error {
	data := filepath.Join(r.folder, r.name)
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	place := []string{"--port", strconv.Itoa(r.Port), "--bind", "127.0.0.1", "--dir", data}
	arguments := slices.Concat(r.arguments, place)
	process, err := Start(r.name, r.folder, []string{"LD_LIBRARY_PATH=" + r.libraries},
		exec.Command(filepath.Join(r.programs, "redis-server"), arguments...))
	if err != nil {
		return err
	}
	r.Process = process
	return r.Await(ctx, func(context.Context) error {
		reply, err := r.Command("PING")
		if err == nil && (strings.HasPrefix(reply, "LOADING") || strings.HasPrefix(reply, "MASTERDOWN")) {
			err = errors.New(reply)
		}
		return err // one that wants a password is there, too
	})
}

// Arguments are those that it was started with.
func (r *Redis) Arguments() []string { return r.arguments }

// Stop ends the server, which keeps what it has.
func (r *Redis) Stop() error { return r.Process.Stop() }

// Freeze stops the server as it is, and Thaw lets it go on.
func (r *Redis) Freeze() error { return r.Signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (r *Redis) Thaw() error { return r.Signal(syscall.SIGCONT) }

// Address is where it listens.
func (r *Redis) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Port)) }

// URL is for extauthz, as the default user.
func (r *Redis) URL() string { return "redis://" + r.Address() }

// Command sends one command on a connection of its own, and returns what redis-cli --raw shows of the reply; an error
// reply too is a reply.
func (r *Redis) Command(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(r.programs, "redis-cli"),
		append([]string{"--raw", "-p", strconv.Itoa(r.Port)}, words...)...)
	command.Env = []string{"LD_LIBRARY_PATH=" + r.libraries}
	output, err := command.CombinedOutput()
	return strings.TrimSuffix(string(output), "\n"), err
}
