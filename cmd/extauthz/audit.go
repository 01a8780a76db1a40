package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/extauthz"
)

const (
	// auditRoom is how many records wait for a slow disk. What comes when they are that many is dropped, counted and told.
	auditRoom = 16 << 10
	// auditFlush bounds how long a record stays in memory while the disk is well.
	auditFlush = time.Second
	// auditEnd bounds how long a disk may take at the end.
	auditEnd = 2 * time.Second
)

// auditLog writes one JSON line a decision. No check ever waits for it.
type auditLog struct {
	path    string // empty for standard output
	stdout  io.Writer
	log     *slog.Logger
	waiting chan extauthz.AuditRecord
	reopen  chan struct{}
	dropped atomic.Int64
	counter prometheus.Counter
}

// newAuditLog makes the log of EXTAUTHZ_AUDIT_LOG, which must be usable now.
func newAuditLog(path string, stdout io.Writer, log *slog.Logger, registry *prometheus.Registry) (*auditLog, error) {
	a := &auditLog{
		path: path, stdout: stdout, log: log, waiting: make(chan extauthz.AuditRecord, auditRoom), reopen: make(chan struct{}, 1),
		counter: prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_audit_dropped_total", Help: "Audit records that were dropped since they could not be written in time."}),
	}
	registry.MustRegister(a.counter)
	file, err := a.open()
	if err != nil {
		return nil, fmt.Errorf("EXTAUTHZ_AUDIT_LOG names a file that cannot be written (%w); check its path and rights, or write stdout", err)
	}
	return a, file.Close()
}

// open opens the file for what follows what it holds.
func (a *auditLog) open() (io.WriteCloser, error) {
	if a.path == "" {
		return keepOpen{a.stdout}, nil
	}
	return os.OpenFile(a.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// record takes a record, or drops it when too many wait.
func (a *auditLog) record(record extauthz.AuditRecord) {
	select {
	case a.waiting <- record:
	default:
		a.drop(1)
	}
}

func (a *auditLog) drop(count int) {
	a.dropped.Add(int64(count))
	a.counter.Add(float64(count))
}

// run writes until ctx ends and what waits then is written.
func (a *auditLog) run(ctx context.Context) {
	flush := time.NewTicker(auditFlush)
	defer flush.Stop()
	w := &auditWriter{log: a}
	defer w.close()
	for {
		select {
		case record := <-a.waiting:
			w.write(record)
		case <-flush.C:
			w.flush()
			if dropped := a.dropped.Swap(0); dropped > 0 {
				a.log.Warn("audit records were dropped", "count", dropped)
			}
		case <-a.reopen:
			w.close()
		case <-ctx.Done():
			for {
				select {
				case record := <-a.waiting:
					w.write(record)
				default:
					return
				}
			}
		}
	}
}

// auditWriter is the file while it is open; run's alone.
type auditWriter struct {
	log    *auditLog
	file   io.WriteCloser // nil until the next record opens it
	buffer *bufio.Writer
	count  int // of records in the buffer
}

func (w *auditWriter) write(record extauthz.AuditRecord) {
	if w.file == nil {
		file, err := w.log.open()
		if err != nil {
			w.fail(1, err)
			return
		}
		w.file, w.buffer = file, bufio.NewWriterSize(file, 64<<10)
	}
	line, err := json.Marshal(record)
	if err != nil {
		w.fail(1, err)
		return
	}
	if w.buffer.Available() <= len(line) {
		w.flush() // so that no record is torn between two writes
	}
	if w.file == nil { // that write failed
		w.log.drop(1)
		return
	}
	w.count++
	w.buffer.Write(line)
	w.buffer.WriteByte('\n')
}

func (w *auditWriter) flush() {
	if w.file == nil || w.count == 0 {
		return
	}
	err := w.buffer.Flush()
	if err != nil {
		w.fail(w.count, err)
		w.file.Close()
		w.file = nil // the next record tries anew
	}
	w.count = 0
}

// fail counts what is lost; the ticker tells how much, and this why, at the first of each failure.
func (w *auditWriter) fail(count int, err error) {
	if w.log.dropped.Load() == 0 {
		w.log.log.Error("the audit log cannot be written", "error", err)
	}
	w.log.drop(count)
}

func (w *auditWriter) close() {
	w.flush()
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}
