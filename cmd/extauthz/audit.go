package main

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

	"extauthz/extauthz"
)

const (
	// auditRoom and auditBytes bound the records that wait for a slow disk. Further ones are dropped, counted and logged.
	auditRoom  = 16 << 10
	auditBytes = 8 << 20
	// auditFlush bounds how long a record stays in memory while the disk is well.
	auditFlush = time.Second
	// auditEnd bounds how long a disk may take at the end.
	auditEnd = 2 * time.Second
	// auditOpen bounds how long it may take to open the file at the start.
	auditOpen = 5 * time.Second
)

// auditLog writes one JSON line a decision. No check ever waits for it.
type auditLog struct {
	path   string // empty for standard output
	stdout *lineFile
	log    *slog.Logger
	lines  *lineWriter
}

// newAuditLog makes the log of EXTAUTHZ_AUDIT_LOG, which must be usable now, except that a FIFO's reader may come
// later. It writes until it is closed.
func newAuditLog(path string, stdout *lineFile, log *slog.Logger, registry *prometheus.Registry) (*auditLog, error) {
	a := &auditLog{path: path, stdout: stdout, log: log}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_audit_dropped_total",
		Help: "Audit records that were dropped since they could not be written in time."})
	registry.MustRegister(dropped)
	if err := a.try(); err != nil {
		return nil, fmt.Errorf("EXTAUTHZ_AUDIT_LOG names a file that cannot be written (%w); "+
			"check its path and rights, or write stdout", pathFault(path, err))
	}
	piece := streamPiece
	if path != "" && isRegular(path) {
		piece = filePiece
	}
	a.lines = newLineWriter(lineOptions{
		open: a.open, piece: piece, maxBytes: auditBytes, maxLines: auditRoom, delay: auditFlush,
		dropped: func(count int) { dropped.Add(float64(count)) },
		lost:    func(count int) { log.Warn("audit records were dropped", "count", count) },
		failed:  func(err error) { log.Error("the audit log cannot be written; trying again", "error", err) },
		stalled: func(took time.Duration) {
			log.Error("the audit log's file does not answer; records wait for it, and are dropped once there is no room",
				"for", took.Round(time.Second).String(),
				"records", auditRoom)
		},
		resumed: func(took time.Duration) {
			log.Info("the audit log's file answers again", "after", took.Round(time.Second).String())
		},
	})
	return a, nil
}

// open opens the file for what follows what it holds.
func (a *auditLog) open() (io.WriteCloser, error) {
	if a.path == "" {
		return a.stdout, nil
	}
	return openLineFile(a.path)
}

// try tells whether the file can be written. A disk that does not answer must not keep the start waiting for ever.
func (a *auditLog) try() error {
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
		if errors.Is(err, syscall.ENXIO) && isFIFO(a.path) {
			a.log.Warn("EXTAUTHZ_AUDIT_LOG is a FIFO that nobody reads; " +
				"start its reader, records wait for it and are dropped meanwhile")
			return nil
		}
		return err
	case <-time.After(auditOpen):
		return fmt.Errorf("opening %s: %w after %s", a.path, os.ErrDeadlineExceeded, auditOpen)
	}
}

// record hands a record over, or drops it when too many wait.
func (a *auditLog) record(record extauthz.AuditRecord) {
	if a.lines.isFull() { // before a line is made for nothing
		a.lines.refuse(1)
		return
	}
	line, err := json.Marshal(record)
	if err != nil { // a share that is no number
		a.lines.refuse(1)
		return
	}
	a.lines.Write(append(line, '\n'))
}

// reopen opens the file anew, as after it was moved. It does not wait for a disk that hangs.
func (a *auditLog) reopen() {
	if a.path != "" {
		a.lines.reopen()
	}
}

// close writes what waits, as far as the disk does so in time.
func (a *auditLog) close() {
	if lost := a.lines.close(auditEnd); lost > 0 {
		a.log.Warn("the audit log could not be written to its end; what waited for it is lost", "records", lost)
	}
}
