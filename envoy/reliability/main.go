// Command reliability breaks what extauthz depends on, floods it, and measures what its checks come to
// meanwhile. `make faults`, `make floods` and `make soak` run it. It goes to this machine's loopback only, ends only
// what it started, and exits with 1 when something came that must not.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.BoolVar(&o.short, "short", false,
		"the faults and floods that matter most, by bounds that a busy machine does not break; nothing is written")
	flag.StringVar(&o.only, "only", "", "the faults or floods with this in their name; nothing is written")
	flag.DurationVar(&o.soak, "soak", 0, "mixed load for so long, with a rotation and a fault each minute")
	what := flag.String("what", "faults,floods", "faults, floods or both")
	isFlood := flag.Bool("flood", false, "internal: be the process of a flood")
	flag.Parse()
	o.faults, o.floods = strings.Contains(*what, "faults"), strings.Contains(*what, "floods")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if *isFlood {
		if err := floodByStdin(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "flood:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

type options struct {
	short, faults, floods bool
	only                  string
	soak                  time.Duration
}

// selected tells whether a fault or flood of this name is to run.
func (o *options) selected(name string, matters bool) bool {
	if o.only != "" {
		return strings.Contains(name, o.only)
	}
	return matters || !o.short
}

func run(ctx context.Context, o options) (err error) {
	r, err := newRig(ctx)
	if r != nil {
		defer r.stop()
	}
	if err != nil {
		return err
	}
	report := &report{}
	if o.short {
		r.bounds = lenient
	}
	switch {
	case o.soak > 0:
		err = r.soak(o.soak, report)
	default:
		if o.faults {
			err = r.runFaults(&o, report)
		}
		if err == nil && o.floods {
			err = r.runFloods(&o, report)
		}
	}
	if err != nil {
		return err
	}
	if !o.short && o.only == "" && o.soak == 0 && o.faults && o.floods {
		if err := report.write(r.installer.Root()); err != nil {
			return err
		}
	}
	if len(report.faults) > 0 {
		return fmt.Errorf("what must not be:\n  %s", strings.Join(report.faults, "\n  "))
	}
	fmt.Println("all as it should be")
	return nil
}
