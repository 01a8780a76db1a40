package lines

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/cmd/extauthz/internal/bubble"
)

// device is a file in memory whose writes a test can have fail, cut short or block.
type device struct {
	mu      sync.Mutex
	content bytes.Buffer
	cut     int           // the next write takes so many bytes, and fails; -1 for all
	gate    chan struct{} // writes wait until it is closed; nil for none
}

func newDevice() *device { return &device{cut: -1} }

func (d *device) Write(p []byte) (int, error) {
	d.mu.Lock()
	gate, cut := d.gate, d.cut
	d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cut >= 0 {
		d.cut = -1
		cut = min(cut, len(p))
		d.content.Write(p[:cut])
		return cut, syscall.ENOSPC
	}
	return d.content.Write(p)
}

func (d *device) Close() error { return nil }

func (d *device) set(cut int, gate chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut, d.gate = cut, gate
}

func (d *device) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.content.String()
}

// countedWriter is a Writer whose dropped lines are counted.
func countedWriter(options Options, to io.Writer) (w *Writer, dropped func() int) {
	count := 0
	file := &File{file: to}
	if options.Open == nil {
		options.Open = func() (io.WriteCloser, error) { return file, nil }
	}
	options.Dropped = func(lines int) { count += lines }
	options.MaxBytes, options.Piece = max(options.MaxBytes, 1<<10), max(options.Piece, 64)
	if options.MaxLines == 0 {
		options.MaxLines = 100
	}
	w = NewWriter(options)
	return w, func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return count
	}
}

// A line that was cut short at any byte spoils itself only, and is written again whole: nothing is lost.
func TestTornLine(t *testing.T) {
	for cut := range 30 {
		bubble.Test(t, func(t *testing.T) {
			to := newDevice()
			to.set(cut, nil)
			var faults []error
			w, dropped := countedWriter(Options{Delay: time.Second, Failed: func(err error) { faults = append(faults, err) }}, to)
			for _, line := range []string{"first line\n", "second line\n", "third line\n"} {
				io.WriteString(w, line)
			}
			time.Sleep(3 * time.Second)
			w.Write([]byte("fourth line\n"))
			if lost := w.Close(time.Second); lost != 0 || dropped() != 0 {
				t.Errorf("cut at %d: %d lost, %d dropped", cut, lost, dropped())
			}
			if len(faults) != 1 || !errors.Is(faults[0], syscall.ENOSPC) {
				t.Errorf("cut at %d: told %v", cut, faults)
			}
			for _, want := range []string{"first line", "second line", "third line", "fourth line"} {
				if strings.Count("\n"+to.String(), "\n"+want+"\n") != 1 {
					t.Errorf("cut at %d: %q is not there once, on a line of its own: %q", cut, want, to.String())
				}
			}
		})
	}
}

// Every line is either written or counted, whatever the file does meanwhile, and where lines are missing it says how
// many.
func TestEveryLineIsWrittenOrCounted(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		to := newDevice()
		notice := func(lines int) []byte { return fmt.Appendf(nil, "%d lines dropped\n", lines) }
		w, dropped := countedWriter(Options{Notice: notice}, to)
		gate := make(chan struct{})
		to.set(-1, gate)
		for i := range 250 {
			fmt.Fprintf(w, "line %d\n", i)
		}
		synctest.Wait()
		before := dropped()
		to.set(-1, nil)
		close(gate)
		synctest.Wait()
		fmt.Fprintln(w, "afterwards")
		w.Close(time.Second)
		lines := strings.Split(strings.TrimSuffix(to.String(), "\n"), "\n")
		if before == 0 || before != dropped() || len(lines) != 250-before+2 {
			t.Errorf("%d dropped, %d lines written", before, len(lines))
		}
		if last := lines[len(lines)-2]; last != fmt.Sprintf("%d lines dropped", before) {
			t.Errorf("%q where %d lines are missing", last, before)
		}
	})
}

// A file that fails for longer than a moment costs the lines that waited for it, and not those that come after.
func TestFileThatFails(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		to, broken := newDevice(), true
		told := 0
		w, dropped := countedWriter(Options{Lost: func(lines int) { told += lines }, Open: func() (io.WriteCloser, error) {
			if broken {
				return nil, syscall.ENOENT
			}
			return to, nil
		}}, nil)
		io.WriteString(w, "lost\nlost too\n")
		time.Sleep(writePatience - time.Second)
		if dropped() != 0 {
			t.Error("dropped before its time")
		}
		time.Sleep(2 * time.Second)
		if dropped() != 2 || told != 2 {
			t.Errorf("%d dropped, %d told", dropped(), told)
		}
		broken = false
		io.WriteString(w, "kept\n")
		w.Close(time.Second)
		if to.String() != "kept\n" {
			t.Errorf("%q", to.String())
		}
	})
}

// SIGHUP gets a log away from a disk that hangs, before and after the hang was noticed, without losing a line.
func TestReopenWhileTheFileHangs(t *testing.T) {
	for _, when := range []time.Duration{stallTime / 2, 2 * stallTime} {
		bubble.Test(t, func(t *testing.T) {
			first, second := newDevice(), newDevice()
			gate, opened := make(chan struct{}), 0
			first.set(-1, gate)
			var stalled, resumed int
			w, dropped := countedWriter(Options{Open: func() (io.WriteCloser, error) {
				if opened++; opened == 1 {
					return first, nil
				}
				return second, nil
			}, Stalled: func(time.Duration) { stalled++ }, Resumed: func(time.Duration) { resumed++ }}, nil)
			io.WriteString(w, "one\n")
			time.Sleep(when)
			io.WriteString(w, "two\n")
			w.Reopen()
			time.Sleep(2 * stallTime)
			io.WriteString(w, "three\n")
			time.Sleep(time.Second)
			if got := second.String(); got != "one\ntwo\nthree\n" || stalled != 1 {
				t.Errorf("%q in the new file, %d stalls told", got, stalled)
			}
			close(gate)
			synctest.Wait()
			if lost := w.Close(time.Second); lost != 0 || dropped() != 0 {
				t.Errorf("%d lost, %d dropped", lost, dropped())
			}
		})
	}
}

// A file that hangs does not keep the process from its end, and what is lost by that is counted.
func TestCloseWhileTheFileHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		to := newDevice()
		gate := make(chan struct{})
		to.set(-1, gate)
		w, dropped := countedWriter(Options{}, to)
		io.WriteString(w, "one\ntwo\n")
		synctest.Wait()
		io.WriteString(w, "three")
		began := time.Now()
		if lost := w.Close(time.Second); lost != 3 || time.Since(began) != time.Second {
			t.Errorf("%d lost after %s", lost, time.Since(began))
		}
		io.WriteString(w, "late\n")
		close(gate)
		synctest.Wait()
		if dropped() != 4 || w.Close(time.Second) != 0 {
			t.Errorf("%d dropped", dropped())
		}
	})
}

// Two writers to one pipe do not get into each other's lines, however long these are.
func TestTwoWritersOnOnePipe(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, other := Standard(writer, writer)
	if out != other {
		t.Fatal("one pipe, two files")
	}
	read := make(chan string)
	go func() {
		content, _ := io.ReadAll(reader)
		read <- string(content)
	}()
	var writers []*Writer
	for range 2 {
		w, _ := countedWriter(Options{MaxBytes: 64 << 20, MaxLines: 1 << 20, Piece: StreamPiece,
			Open: func() (io.WriteCloser, error) { return out, nil }}, nil)
		writers = append(writers, w)
	}
	var work sync.WaitGroup
	for i, w := range writers {
		work.Go(func() {
			for range 200 {
				io.WriteString(w, strings.Repeat(string(rune('a'+i)), 20_000)+"\n")
			}
		})
	}
	work.Wait()
	for _, w := range writers {
		w.Close(20 * time.Second)
	}
	writer.Close()
	lines := 0
	for line := range strings.Lines(<-read) {
		if lines++; strings.Count(line, line[:1]) != 20_000 {
			t.Fatalf("line %d is mixed", lines)
		}
	}
	if lines != 400 {
		t.Errorf("%d lines", lines)
	}
}

// What a process that died has left of a line is ended before the next one.
func TestFileWithATornEnd(t *testing.T) {
	for before, want := range map[string]string{"": "new\n", "whole\n": "whole\nnew\n", `{"torn`: "{\"torn\nnew\n"} {
		path := filepath.Join(t.TempDir(), "lines")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(file, "new\n")
		file.Close()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}
