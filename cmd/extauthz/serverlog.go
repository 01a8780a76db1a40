package main

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
)

const (
	// logBytes and logLines bound what waits for a reader of standard error. Further lines are dropped and counted.
	logBytes = 1 << 20
	logLines = 4 << 10
	// logEnd bounds how long standard error may take at the end.
	logEnd = time.Second
)

// standardFiles are the standard streams for whole lines; one and the same where they are one file or pipe.
func standardFiles(stdout, stderr io.Writer) (out, err *lineFile) {
	out, err = &lineFile{file: stdout}, &lineFile{file: stderr}
	if isSameFile(stdout, stderr) {
		return err, err
	}
	return out, err
}

func isSameFile(a, b io.Writer) bool {
	fileA, isFileA := a.(*os.File)
	fileB, isFileB := b.(*os.File)
	if !isFileA || !isFileB || fileA == nil || fileB == nil {
		return false
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// newLogLines makes the way to standard error of a server, which must not wait for who reads it. s is nil where the
// settings could not be read.
func newLogLines(stderr *lineFile, s *settings, dropped func(int)) *lineWriter {
	if s == nil {
		s = &settings{}
	}
	return newLineWriter(lineOptions{
		open:  func() (io.WriteCloser, error) { return stderr, nil },
		piece: streamPiece, maxBytes: logBytes, maxLines: logLines, dropped: dropped,
		notice: func(count int) []byte {
			var line bytes.Buffer
			newLogger(s, &line, slog.LevelError).Error(
				"log lines were dropped here, since they could not be written in time", "count", count)
			return line.Bytes()
		},
	})
}

// adoptLoggers has the libraries that log for themselves use the server's log, until restore is called.
func adoptLoggers(log *slog.Logger) (restore func()) {
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

// adoptGRPC has gRPC's own log go where slog's default goes. It must be called before anything else of gRPC's is. How
// much gRPC logs is said by its own variable.
func adoptGRPC() {
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
