package server

import (
	"log/slog"
	"testing"
)

// The admin listener has a bound for each step of a request.
func TestAdminServerHasBounds(t *testing.T) {
	server := (&Server{Log: slog.New(slog.DiscardHandler)}).newAdmin(t.Context(), nil)
	if server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 || server.ReadHeaderTimeout <= 0 {
		t.Errorf("no bound: %+v", server)
	}
}
