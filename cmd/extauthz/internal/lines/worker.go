package lines

import (
	"bytes"
	"io"
	"time"
)

// worker is a goroutine that writes, and the file that it has open.
type worker struct {
	*Writer
	file         io.WriteCloser // nil until it is needed
	failingSince time.Time      // zero while writes succeed
	tick         <-chan time.Time

	slow    *time.Timer // runs while a system call does
	began   time.Time   // of that call; guarded by mu
	stalled bool        // and whether it was reported; guarded by mu
}

// run writes until the writer is closed, or another worker has taken over.
func (k *worker) run() {
	defer k.slow.Stop()
	if k.options.Delay > 0 {
		ticker := time.NewTicker(k.options.Delay)
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
func (k *worker) counts() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.worker == k
}

// wait returns when there may be something to do; isLast, when it is the last time.
func (k *worker) wait() (isLast bool) {
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
func (k *worker) holds() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held > 0
}

// step writes one piece, and tells whether there is more to write now.
func (k *worker) step() (more bool) {
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
	piece := pieceOf(k.taken, k.options.Piece)
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
func (k *worker) write(piece []byte) (written int, err error) {
	if k.file == nil {
		k.call(func() { k.file, err = k.options.Open() })
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
func (k *worker) call(system func()) {
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
	if stalled && k.options.Resumed != nil {
		k.options.Resumed(took)
	}
}

// reportStall runs beside the call that takes so long.
func (k *worker) reportStall() {
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
	if k.options.Stalled != nil {
		k.options.Stalled(took)
	}
	k.tellLost(lossInterval)
}

// fail closes the file, so that the next attempt opens it anew, and drops what has waited for too long.
func (k *worker) fail(err error) {
	if k.failingSince.IsZero() {
		k.failingSince = time.Now()
		if k.options.Failed != nil {
			k.options.Failed(err)
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

func (k *worker) closeFile() {
	if k.file != nil {
		k.call(func() { k.file.Close() })
		k.file = nil
	}
}
