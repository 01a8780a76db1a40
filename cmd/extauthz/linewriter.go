package main

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
	// filePiece and streamPiece bound one write, unless one line is longer. PIPE_BUF is 4096 on Linux: a write of up
	// to that is never mixed with another process's, or torn.
	filePiece   = 64 << 10
	streamPiece = 4 << 10
	// maxSpare bounds the memory that is kept for the next lines.
	maxSpare = 256 << 10
)

// lineOptions say where a lineWriter writes and whom it tells. All functions but open may be nil.
type lineOptions struct {
	open     func() (io.WriteCloser, error) // run by the goroutine that writes, since it may block, too
	piece    int                            // bytes of one write at most, unless one line is longer
	maxBytes int                            // of the lines that wait
	maxLines int
	delay    time.Duration // lines are collected for so long; 0 writes at once

	dropped func(lines int)        // counts; it must not block
	notice  func(lines int) []byte // the line by which the log itself tells of those that were dropped before it
	lost    func(lines int)        // tells elsewhere; only one of notice and lost is set
	failed  func(error)            // the first of each series of failures
	stalled func(time.Duration)    // a system call takes that long already
	resumed func(time.Duration)    // and took so long in the end
}

// lineWriter writes whole lines to what may be slow, full, gone or blocked for ever, as a pipe that nobody reads is.
// Who writes to it never waits: a line that finds no room is dropped and counted, and the next one that is written
// tells how many were. One goroutine, the worker, makes all system calls; where it is stuck in one, another can take
// its place ([lineWriter.reopen]) and the process can end without it ([lineWriter.close]). All methods are safe for
// concurrent use.
type lineWriter struct {
	options lineOptions
	wake    chan struct{} // there is something to write
	anew    chan struct{} // the file is to be opened anew
	closing chan struct{} // closed by close
	done    chan struct{} // closed by the last worker when it has written everything that it can

	mu       sync.Mutex
	worker   *lineWorker // the one that counts; a worker that is not this one any more touches nothing
	pending  []byte      // lines that wait
	taken    []byte      // lines that the worker has; shrinks as they are written
	whole    []byte      // the buffer that taken lies in, for the next use
	spare    []byte
	held     int // lines in pending and taken
	missing  int // lines that were dropped and not reported yet
	reported time.Time
	isClosed bool
}

// lineWorker is a goroutine that writes, and the file that it has open.
type lineWorker struct {
	*lineWriter
	file         io.WriteCloser // nil until it is needed
	failingSince time.Time      // zero while writes succeed
	tick         <-chan time.Time

	slow    *time.Timer // runs while a system call does
	began   time.Time   // of that call; guarded by mu
	stalled bool        // and whether it was reported; guarded by mu
}

func newLineWriter(options lineOptions) *lineWriter {
	w := &lineWriter{
		options: options, wake: make(chan struct{}, 1), anew: make(chan struct{}, 1),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	w.startWorker()
	return w
}

// startWorker puts a worker in charge. mu is held, or nobody else knows the writer yet.
func (w *lineWriter) startWorker() {
	k := &lineWorker{lineWriter: w}
	k.slow = time.AfterFunc(time.Hour, k.reportStall)
	k.slow.Stop()
	w.worker = k
	go k.run()
}

// Write takes whole lines in, or drops them all. It never blocks and never fails, so that no logger gives up on it. It
// implements [io.Writer].
func (w *lineWriter) Write(lines []byte) (int, error) {
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
	if w.isClosed || w.held+count > w.options.maxLines || len(w.pending)+len(w.taken)+size+1 > w.options.maxBytes {
		w.drop(count)
		return size, nil
	}
	w.appendNotice()
	w.pending = append(w.pending, lines...)
	if cut {
		w.pending = append(w.pending, '\n')
	}
	w.held += count
	if w.options.delay == 0 || len(w.pending) >= w.options.piece {
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

// isFull tells who would have to make a line first that there is hardly any room for it.
func (w *lineWriter) isFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isClosed || w.held >= w.options.maxLines
}

// refuse counts lines that were not even made.
func (w *lineWriter) refuse(lines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(lines)
}

// drop counts lines that are lost. mu is held.
func (w *lineWriter) drop(lines int) {
	w.missing += lines
	if w.options.dropped != nil {
		w.options.dropped(lines)
	}
}

// appendNotice tells of the lines that were dropped at this place. mu is held.
func (w *lineWriter) appendNotice() {
	if w.missing > 0 && w.options.notice != nil {
		notice := w.options.notice(w.missing)
		w.pending = append(w.pending, notice...)
		w.held += bytes.Count(notice, newline)
		w.missing = 0
	}
}

// tellLost tells elsewhere of lines that were dropped, at most once in each interval.
func (w *lineWriter) tellLost(interval time.Duration) {
	w.mu.Lock()
	count := w.missing
	if w.options.lost == nil || count == 0 || time.Since(w.reported) < interval {
		w.mu.Unlock()
		return
	}
	w.missing, w.reported = 0, time.Now()
	w.mu.Unlock()
	w.options.lost(count)
}

// reopen has the file opened anew before the next line. A worker that has been stuck for a while in the earlier file is
// left to itself: another takes its place, with what that one has not written for certain.
func (w *lineWriter) reopen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.worker != nil && w.worker.stalled {
		w.takeOver()
		return
	}
	wakeUp(w.anew) // a worker that gets stuck before it sees this is replaced by reportStall
}

// takeOver puts another worker in the place of one that is stuck. mu is held.
func (w *lineWriter) takeOver() {
	if w.isClosed {
		return
	}
	w.taken = bytes.Clone(w.taken) // the stuck write may still read the earlier bytes
	w.whole, w.spare = nil, nil
	w.startWorker()
	wakeUp(w.wake)
}

// close writes what waits, for at most as long as the bound, and returns how many lines were lost by its end. Lines
// that come later are dropped.
func (w *lineWriter) close(bound time.Duration) (lost int) {
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

// run writes until the writer is closed, or another worker has taken over.
func (k *lineWorker) run() {
	defer k.slow.Stop()
	if k.options.delay > 0 {
		ticker := time.NewTicker(k.options.delay)
		defer ticker.Stop()
		k.tick = ticker.C
	}
	for isLast := false; !isLast && k.counts(); {
		isLast = k.wait()
		for k.step() {
		}
	}
	k.closeFile()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.worker == k {
		close(k.done)
	}
}

// counts tells whether this is the worker in charge.
func (k *lineWorker) counts() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.worker == k
}

// wait returns when there may be something to do; isLast, when it is the last time.
func (k *lineWorker) wait() (isLast bool) {
	var retry <-chan time.Time
	wake, tick := k.wake, k.tick
	if !k.failingSince.IsZero() && k.holds() {
		timer := time.NewTimer(writeRetry)
		defer timer.Stop()
		retry, wake, tick = timer.C, nil, nil
	}
	select {
	case <-wake:
	case <-tick:
	case <-retry:
	case <-k.anew:
		k.closeFile()
	case <-k.closing:
		return true
	}
	return false
}

// holds tells whether a line waits.
func (k *lineWorker) holds() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held > 0
}

// step writes one piece, and tells whether there is more to write now.
func (k *lineWorker) step() (more bool) {
	k.mu.Lock()
	if k.worker != k {
		k.mu.Unlock()
		return false
	}
	if len(k.taken) == 0 {
		if len(k.pending) == 0 && !k.isClosed {
			k.appendNotice()
		}
		k.taken, k.whole, k.pending, k.spare = k.pending, k.pending, k.spare, nil
	}
	piece := pieceOf(k.taken, k.options.piece)
	k.mu.Unlock()
	if len(piece) == 0 {
		return false
	}

	written, err := k.write(piece)

	k.mu.Lock()
	if k.worker != k { // the other one writes it again rather than nobody
		k.mu.Unlock()
		return false
	}
	if err != nil { // a line that was cut short is written again, whole
		written = bytes.LastIndexByte(piece[:written], '\n') + 1
	}
	k.held -= bytes.Count(piece[:written], newline)
	k.taken = k.taken[written:]
	if len(k.taken) == 0 && cap(k.whole) <= maxSpare {
		k.spare, k.whole = k.whole[:0], nil
	}
	more = err == nil && len(k.taken)+len(k.pending) > 0
	k.mu.Unlock()
	if err != nil {
		k.fail(err)
		return false
	}
	k.failingSince = time.Time{}
	if !more {
		k.tellLost(time.Second)
	}
	return more
}

// pieceOf is the first lines of several, as many as fit into size bytes, but one at least.
func pieceOf(lines []byte, size int) []byte {
	if len(lines) <= size {
		return lines
	}
	if end := bytes.LastIndexByte(lines[:size], '\n'); end >= 0 {
		return lines[:end+1]
	}
	return lines[:bytes.IndexByte(lines, '\n')+1]
}

// write opens the file if it must, and writes. It may block.
func (k *lineWorker) write(piece []byte) (written int, err error) {
	if k.file == nil {
		k.call(func() { k.file, err = k.options.open() })
		if err != nil {
			k.file = nil
			return 0, err
		}
	}
	k.call(func() { written, err = k.file.Write(piece) })
	written = min(max(written, 0), len(piece))
	if err == nil && written < len(piece) {
		err = io.ErrShortWrite
	}
	return written, err
}

// call makes a system call, and has it reported when it takes long.
func (k *lineWorker) call(system func()) {
	k.mu.Lock()
	k.began = time.Now()
	k.mu.Unlock()
	k.slow.Reset(stallTime)
	system()
	k.slow.Stop()
	k.mu.Lock()
	stalled, took := k.stalled && k.worker == k, time.Since(k.began)
	k.stalled, k.began = false, time.Time{}
	k.mu.Unlock()
	if stalled && k.options.resumed != nil {
		k.options.resumed(took)
	}
}

// reportStall runs beside the call that takes so long.
func (k *lineWorker) reportStall() {
	k.mu.Lock()
	took, counts := time.Since(k.began), k.worker == k && !k.began.IsZero()
	k.stalled = counts
	select {
	case <-k.anew:
		if counts {
			k.takeOver()
		}
	default:
	}
	k.mu.Unlock()
	if !counts {
		return
	}
	k.slow.Reset(stallReminder)
	if k.options.stalled != nil {
		k.options.stalled(took)
	}
	k.tellLost(lossInterval)
}

// fail closes the file, so that the next attempt opens it anew, and drops what has waited for too long.
func (k *lineWorker) fail(err error) {
	if k.failingSince.IsZero() {
		k.failingSince = time.Now()
		if k.options.failed != nil {
			k.options.failed(err)
		}
	}
	k.closeFile()
	if time.Since(k.failingSince) < writePatience {
		return
	}
	k.mu.Lock()
	if k.worker == k {
		k.drop(k.held)
		k.held, k.pending, k.taken = 0, k.pending[:0], nil
	}
	k.mu.Unlock()
	k.tellLost(lossInterval)
}

func (k *lineWorker) closeFile() {
	if k.file != nil {
		k.call(func() { k.file.Close() })
		k.file = nil
	}
}
