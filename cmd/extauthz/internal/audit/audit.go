// Package audit writes a JSON line for each decision that is handed to it, to a file or to standard output. Nobody
// waits for it. It imports lines and discreet and does not know how a decision is come to.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/cmd/extauthz/internal/discreet"
	"extauthz/cmd/extauthz/internal/lines"
	"extauthz/extauthz"
)

const (
	// room and auditBytes bound the records that wait for a slow disk. Further ones are dropped, counted and logged.
	room     = 16 << 10
	maxBytes = 8 << 20
	// flushTime bounds how long a record stays in memory while the disk is well.
	flushTime = time.Second
	// endTime bounds how long a disk may take at the end.
	endTime = 2 * time.Second
	// openTime bounds how long it may take to open the file at the start.
	openTime = 5 * time.Second
)

// Log writes one JSON line a decision. No check ever waits for it.
type Log struct {
	path   string // empty for standard output
	stdout *lines.File
	log    *slog.Logger
	lines  *lines.Writer
}

// New makes the log of EXTAUTHZ_AUDIT_LOG, which must be usable now, except that a FIFO's reader may come
// later. It writes until it is closed.
func New(path string, stdout *lines.File, log *slog.Logger, registry *prometheus.Registry) (*Log, error) {
	a := &Log{path: path, stdout: stdout, log: log}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_audit_dropped_total",
		Help: "Audit records dropped because they could not be written in time."})
	registry.MustRegister(dropped)
	if err := a.try(); err != nil {
		return nil, fmt.Errorf("EXTAUTHZ_AUDIT_LOG names a file that cannot be written (%w); "+
			"check its path and rights, or write stdout", discreet.PathFault(path, err))
	}
	piece := lines.StreamPiece
	if path != "" && lines.IsRegular(path) {
		piece = lines.FilePiece
	}
	a.lines = lines.NewWriter(lines.Options{
		Open: a.open, Piece: piece, MaxBytes: maxBytes, MaxLines: room, Delay: flushTime,
		Dropped: func(count int) { dropped.Add(float64(count)) },
		Lost:    func(count int) { log.Warn("audit records were dropped", "count", count) },
		Failed:  func(err error) { log.Error("the audit log cannot be written; retrying", "error", err) },
		Stalled: func(took time.Duration) {
			log.Error("the audit log's file does not respond; records are buffered, and dropped when the buffer is full",
				"for", took.Round(time.Second).String(),
				"records", room)
		},
		Resumed: func(took time.Duration) {
			log.Info("the audit log's file responds again", "after", took.Round(time.Second).String())
		},
	})
	return a, nil
}

// open opens the file for what follows what it holds.
func (a *Log) open() (io.WriteCloser, error) {
	if a.path == "" {
		return a.stdout, nil
	}
	return lines.Open(a.path)
}

// try tells whether the file can be written. A disk that does not answer must not keep the start waiting for ever.
func (a *Log) try() error {
	tried := make(chan error, 1)
	go func() {
		file, err := a.open()
		if err == nil {
			err = file.Close()
		}
		tried <- err
	}()
	select {
	case err := <-tried:
		if errors.Is(err, syscall.ENXIO) && lines.IsFIFO(a.path) {
			a.log.Warn("EXTAUTHZ_AUDIT_LOG is a FIFO without a reader; " +
				"start its reader, records wait for it and are dropped meanwhile")
			return nil
		}
		return err
	case <-time.After(openTime):
		return fmt.Errorf("opening %s: %w after %s", a.path, os.ErrDeadlineExceeded, openTime)
	}
}

// Record hands a record over, or drops it when too many wait.
func (a *Log) Record(record extauthz.AuditRecord) {
	if a.lines.IsFull() { // before a line is made for nothing
		a.lines.Refuse(1)
		return
	}
	line, err := json.Marshal(record)
	if err != nil { // a share that is no number
		a.lines.Refuse(1)
		return
	}
	a.lines.Write(append(line, '\n'))
}

// Reopen opens the file anew, as after it was moved. It does not wait for a disk that hangs.
func (a *Log) Reopen() {
	if a.path != "" {
		a.lines.Reopen()
	}
}

// Close writes what waits, as far as the disk does so in time.
func (a *Log) Close() {
	if lost := a.lines.Close(endTime); lost > 0 {
		a.log.Warn("the audit log could not be flushed; buffered records are lost", "records", lost)
	}
}
