package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs until it is stopped. Its output goes to a file.
type Process struct {
	Name string
	// Log is the file that holds the program's output.
	Log string

	command *exec.Cmd
	done    chan struct{}
	err     error // how it ended; valid once done is closed
}

// starts hands commands to the one thread that starts them all. Linux ends a child whose starting
// thread has gone (Pdeathsig), so that thread must live as long as this process: then
// nothing outlives us, even when we are killed.
var starts = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range work {
			start()
		}
	}()
	return work
})

// Start runs the command with its output in folder/name.log. env is added to a plain environment: the
// PATH and HOME of this process and nothing else of it.
func Start(name, folder string, env []string, command *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(folder, name+".log"), command: command, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true // a Ctrl-C at the terminal is ours to pass on
	command.SysProcAttr.Pdeathsig = syscall.SIGTERM
	started := make(chan error)
	starts() <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = command.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the program to end, by SIGTERM, and after five seconds makes it. It returns how it ended.
func (p *Process) Stop() error { return p.StopWithin(5 * time.Second) }

// StopWithin is [Process.Stop] with another patience.
func (p *Process) StopWithin(patience time.Duration) error {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		<-p.done
	}
	return p.err
}

// Kill ends the program at once, and waits until it is gone.
func (p *Process) Kill() error {
	err := p.command.Process.Kill()
	<-p.done
	return err
}

// Signal sends the program a signal.
func (p *Process) Signal(signal os.Signal) error { return p.command.Process.Signal(signal) }

// LogEnd returns the last part of what the program printed.
func (p *Process) LogEnd() string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(tail(content, 3000))
}

// Await calls ready until it returns nil, the program ends, or time is up.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%w); the end of its log:\n%s", p.Name, p.exit(), p.LogEnd())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready in time (%w); the end of its log:\n%s", p.Name, last, p.LogEnd())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *Process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// AnswersHTTP is a readiness test: a GET of the URL gives this status.
func AnswersHTTP(url string, status int) func(context.Context) error {
	return answers(http.DefaultClient, url, status)
}

// AnswersUnix is AnswersHTTP of a path at a Unix socket.
func AnswersUnix(socket, path string, status int) func(context.Context) error {
	return answers(&http.Client{Transport: UnixTransport(socket)}, "http://localhost"+path, status)
}

// UnixTransport sends every request to a Unix socket.
func UnixTransport(socket string) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
}

func answers(client *http.Client, url string, status int) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != status {
			return fmt.Errorf("%s gives %d", url, response.StatusCode)
		}
		return nil
	}
}

// AcceptsTCP is a readiness test: the address takes a connection.
func AcceptsTCP(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

// given are the ports that FreePort has returned, which whoever got them may not listen on yet.
var given sync.Map

// FreePort returns a port of 127.0.0.1 that was free a moment ago, and never one a second time.
func FreePort() (int, error) {
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := listener.Addr().(*net.TCPAddr).Port
		if err := listener.Close(); err != nil {
			return 0, err
		}
		if _, isGiven := given.LoadOrStore(port, true); !isGiven {
			return port, nil
		}
	}
}

// PID is the program's process id.
func (p *Process) PID() int { return p.command.Process.Pid }
