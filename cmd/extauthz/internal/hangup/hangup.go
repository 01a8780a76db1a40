// Package hangup keeps SIGHUP from ending the process from the first moment that a Go program can. It imports
// os/signal alone, so that it is initialized before the packages that take milliseconds to be. It does not know what
// SIGHUP is for.
package hangup

import (
	"os"
	"os/signal"
	"syscall"
)

var early = listen()

func listen() chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// Restore lets SIGHUP end the process again, also one that came before. It is for commands that do not reload.
func Restore() {
	signal.Stop(early)
	select {
	case <-early:
		syscall.Kill(os.Getpid(), syscall.SIGHUP)
	default:
	}
}
