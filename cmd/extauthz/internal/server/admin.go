package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"extauthz/cmd/extauthz/internal/naming"
	"extauthz/cmd/extauthz/internal/readiness"
)

// Bounds of the admin listener: who is slow to ask or to read is not waited for.
const (
	adminRead    = 10 * time.Second // for a request
	adminWrite   = 30 * time.Second // for its answer; an explanation waits for the issuer and the database
	adminIdle    = time.Minute      // between two requests
	adminHeaders = 64 << 10         // bytes of a request's headers
)

func (s *Server) newAdmin(ctx context.Context, ready *readiness.Readiness) *http.Server {
	return &http.Server{
		Handler: s.adminHandler(ctx, ready), ReadHeaderTimeout: adminRead / 2, ReadTimeout: adminRead,
		WriteTimeout: adminWrite, IdleTimeout: adminIdle,
		MaxHeaderBytes: adminHeaders, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
}

// adminHandler serves what operators ask. Once ctx ends the server is not ready any more.
func (s *Server) adminHandler(ctx context.Context, ready *readiness.Readiness) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		isReady, missing := ready.Look()
		switch {
		case ctx.Err() != nil:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready: shutting down")
		case !isReady:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, readiness.Sentence(isReady, missing))
		default:
			fmt.Fprintln(w, readiness.Sentence(isReady, missing)+
				map[bool]string{true: ", in shadow mode: every request is allowed"}[s.Shadow])
		}
		if r.URL.Query().Has("verbose") {
			for _, part := range s.Authorizer.Parts() {
				fmt.Fprintln(w, naming.Text(part.String()))
			}
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{}))
	if s.page != nil {
		mux.Handle("/", s.page.Handler())
	}
	return mux
}
