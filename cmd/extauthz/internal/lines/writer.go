// Package lines writes whole lines to what may be slow, full, gone or blocked for ever. Whoever hands a line over never
// waits for it: what finds no room is dropped and counted. It imports no other room and does not know what the lines
// say.
package lines

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// stallTime is how long one system call on a log may take before that is reported.
	stallTime = 2 * time.Second
	// stallReminder is the time between two reports while it still takes.
	stallReminder = time.Minute
	// writeRetry is the pause after a write that failed.
	writeRetry = 200 * time.Millisecond
	// writePatience is how long lines are kept for a file that fails. Then they are dropped, so that the loss is
	// counted soon, and not only once there is no room.
	writePatience = 5 * time.Second
	// lossInterval is the least time between two reports of dropped lines while there are more of them.
	lossInterval = 10 * time.Second
	// FilePiece and StreamPiece bound one write, unless one line is longer. PIPE_BUF is 4096 on Linux: a write of up
	// to that is never mixed with another process's, or torn.
	FilePiece   = 64 << 10
	StreamPiece = 4 << 10
	// maxSpare bounds the memory that is kept for the next lines.
	maxSpare = 256 << 10
)

// Options say where a Writer writes and whom it tells. All functions but Open may be nil.
type Options struct {
	Open     func() (io.WriteCloser, error) // run by the goroutine that writes, since it may block, too
	Piece    int                            // bytes of one write at most, unless one line is longer
	MaxBytes int                            // of the lines that wait
	MaxLines int
	Delay    time.Duration // lines are collected for so long; 0 writes at once

	Dropped func(lines int)        // counts; it must not block
	Notice  func(lines int) []byte // the line by which the log itself tells of those that were dropped before it
	Lost    func(lines int)        // tells elsewhere; only one of Notice and Lost is set
	Failed  func(error)            // the first of each series of failures
	Stalled func(time.Duration)    // a system call takes that long already
	Resumed func(time.Duration)    // and took so long in the end
}

// Writer writes whole lines to what may be slow, full, gone or blocked for ever, as a pipe that nobody reads is.
// Who writes to it never waits: a line that finds no room is dropped and counted, and the next one that is written
// tells how many were. One goroutine, the worker, makes all system calls; where it is stuck in one, another can take
// its place ([Writer.Reopen]) and the process can end without it ([Writer.Close]). All methods are safe for
// concurrent use.
type Writer struct {
	options Options
	wake    chan struct{} // there is something to write
	anew    chan struct{} // the file is to be opened anew
	closing chan struct{} // closed by close
	done    chan struct{} // closed by the last worker when it has written everything that it can

	mu       sync.Mutex
	worker   *worker // the one that counts; a worker that is not this one any more touches nothing
	pending  []byte  // lines that wait
	taken    []byte  // lines that the worker has; shrinks as they are written
	whole    []byte  // the buffer that taken lies in, for the next use
	spare    []byte
	held     int // lines in pending and taken
	missing  int // lines that were dropped and not reported yet
	reported time.Time
	isClosed bool
}

// NewWriter makes a writer, whose goroutine runs until Close.
func NewWriter(options Options) *Writer {
	w := &Writer{
		options: options, wake: make(chan struct{}, 1), anew: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	w.startWorker()
	return w
}

// startWorker puts a worker in charge. mu is held, or nobody else knows the writer yet.
func (w *Writer) startWorker() {
	k := &worker{Writer: w}
	k.slow = time.AfterFunc(time.Hour, k.reportStall)
	k.slow.Stop()
	w.worker = k
	go k.run()
}

// Write takes whole lines in, or drops them all. It never blocks and never fails, so that no logger gives up on it. It
// implements [io.Writer].
func (w *Writer) Write(lines []byte) (int, error) {
	size := len(lines)
	if size == 0 {
		return 0, nil
	}
	cut := lines[size-1] != '\n'
	count := bytes.Count(lines, newline)
	if cut {
		count++
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isClosed || w.held+count > w.options.MaxLines || len(w.pending)+len(w.taken)+size+1 > w.options.MaxBytes {
		w.drop(count)
		return size, nil
	}
	w.appendNotice()
	w.pending = append(w.pending, lines...)
	if cut {
		w.pending = append(w.pending, '\n')
	}
	w.held += count
	if w.options.Delay == 0 || len(w.pending) >= w.options.Piece {
		wakeUp(w.wake)
	}
	return size, nil
}

var newline = []byte{'\n'}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is about to
	}
}

// IsFull tells who would have to make a line first that there is hardly any room for it.
func (w *Writer) IsFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isClosed || w.held >= w.options.MaxLines
}

// Refuse counts lines that were not even made.
func (w *Writer) Refuse(lines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(lines)
}

// drop counts lines that are lost. mu is held.
func (w *Writer) drop(lines int) {
	w.missing += lines
	if w.options.Dropped != nil {
		w.options.Dropped(lines)
	}
}

// appendNotice tells of the lines that were dropped at this place. mu is held.
func (w *Writer) appendNotice() {
	if w.missing > 0 && w.options.Notice != nil {
		notice := w.options.Notice(w.missing)
		w.pending = append(w.pending, notice...)
		w.held += bytes.Count(notice, newline)
		w.missing = 0
	}
}

// tellLost tells elsewhere of lines that were dropped, at most once in each interval.
func (w *Writer) tellLost(interval time.Duration) {
	w.mu.Lock()
	count := w.missing
	if w.options.Lost == nil || count == 0 || time.Since(w.reported) < interval {
		w.mu.Unlock()
		return
	}
	w.missing, w.reported = 0, time.Now()
	w.mu.Unlock()
	w.options.Lost(count)
}

// Reopen has the file opened anew before the next line. A worker that has been stuck for a while in the earlier file is
// left to itself: another takes its place, with what that one has not written for certain.
func (w *Writer) Reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.worker != nil && w.worker.stalled {
		w.takeOver()
		return
	}
	wakeUp(w.anew) // a worker that gets stuck before it sees this is replaced by reportStall
}

// takeOver puts another worker in the place of one that is stuck. mu is held.
func (w *Writer) takeOver() {
	if w.isClosed {
		return
	}
	w.taken = bytes.Clone(w.taken) // the stuck write may still read the earlier bytes
	w.whole, w.spare = nil, nil
	w.startWorker()
	wakeUp(w.wake)
}

// Close writes what waits, for at most as long as the bound, and returns how many lines were lost by its end. Lines
// that come later are dropped.
func (w *Writer) Close(bound time.Duration) (lost int) {
	w.mu.Lock()
	if !w.isClosed {
		w.appendNotice()
		w.isClosed = true
		close(w.closing)
	}
	w.mu.Unlock()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.worker = nil
	lost = w.held
	w.drop(lost)
	w.held, w.pending, w.taken, w.whole, w.spare = 0, nil, nil, nil, nil
	return lost
}
