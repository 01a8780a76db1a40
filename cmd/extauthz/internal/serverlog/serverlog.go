// Package serverlog is the server's log on standard error, which nothing waits for, and which the libraries that log
// for themselves write to as well. It imports lines alone and does not know what is logged.
package serverlog

import (
	"bytes"
	"context"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/grpclog"

	"extauthz/cmd/extauthz/internal/lines"
)

const (
	// maxBytes and maxLines bound what waits for a reader of standard error. Further lines are dropped and counted.
	maxBytes = 1 << 20
	maxLines = 4 << 10
	// EndTime bounds how long standard error may take at the end.
	EndTime = time.Second
)

// Lines makes the way to standard error of a server, which must not wait for who reads it. format is that of the
// log, for the line that tells of dropped ones.
func Lines(stderr *lines.File, format string, dropped func(int)) *lines.Writer {
	return lines.NewWriter(lines.Options{
		Open:  func() (io.WriteCloser, error) { return stderr, nil },
		Piece: lines.StreamPiece, MaxBytes: maxBytes, MaxLines: maxLines, Dropped: dropped,
		Notice: func(count int) []byte {
			var line bytes.Buffer
			New(format, &line, slog.LevelError).Error(
				"log lines were dropped here, since they could not be written in time", "count", count)
			return line.Bytes()
		},
	})
}

// Adopt has the libraries that log for themselves use the server's log, until restore is called.
func Adopt(log *slog.Logger) (restore func()) {
	earlier, writer, flags := slog.Default(), stdlog.Writer(), stdlog.Flags()
	level := slog.SetLogLoggerLevel(slog.LevelWarn) // of what package log is given
	slog.SetDefault(log)
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	return func() {
		slog.SetDefault(earlier)
		slog.SetLogLoggerLevel(level)
		stdlog.SetOutput(writer)
		stdlog.SetFlags(flags)
	}
}

// AdoptGRPC has gRPC's own log go where slog's default goes. It must be called before anything else of gRPC's is. How
// much gRPC logs is said by its own variable.
func AdoptGRPC() {
	var infos, warnings io.Writer = io.Discard, io.Discard
	switch os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") {
	case "info", "INFO":
		infos = grpcLog(slog.LevelInfo)
	case "warning", "WARNING":
		warnings = grpcLog(slog.LevelWarn)
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(infos, warnings, grpcLog(slog.LevelError)))
}

// grpcLog is a level of gRPC's log.
type grpcLog slog.Level

// Write implements [io.Writer] for one message.
func (l grpcLog) Write(message []byte) (int, error) {
	slog.Log(context.Background(), slog.Level(l), "gRPC", "message", string(bytes.TrimSpace(message)))
	return len(message), nil
}

// New makes a log of this format, json or text.
func New(format string, w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
