package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"extauthz/cmd/extauthz/internal/traces"
)

const (
	// drainTime bounds how long checks in flight may take to end after SIGTERM.
	drainTime = 5 * time.Second
	// stopTime bounds how long what was told to stop may take to do so. Past it the process ends without it.
	stopTime = 500 * time.Millisecond
)

// within runs work and tells whether it ended in time. Work that did not goes on, and ends with the process.
func within(bound time.Duration, work func()) (ended bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// stop lets the checks in flight end, then the background work, and last what they report to. Each has its bound,
// so that nothing that hangs, be it a client, a disk or a collector of traces, keeps the process.
func (s *Server) stop(
	grpcServer *grpc.Server, adminServer *http.Server, stopBackground context.CancelFunc, work *sync.WaitGroup,
) {
	drained := time.AfterFunc(drainTime, grpcServer.Stop)
	if !within(drainTime+stopTime, grpcServer.GracefulStop) {
		s.Log.Warn("checks or connections did not end in time; stopping without them", "time", drainTime.String())
	}
	drained.Stop()
	adminServer.Close()
	stopBackground()
	if !within(stopTime, work.Wait) {
		s.Log.Warn("background work did not end in time; stopping without it")
	}
	var last sync.WaitGroup // no check is left that could add to either
	if s.Audit != nil {
		last.Go(s.Audit.Close)
	}
	if s.Traces != nil {
		last.Go(func() { within(traces.EndTime, func() { traces.End(s.Traces, s.Log) }) })
	}
	last.Wait()
}
