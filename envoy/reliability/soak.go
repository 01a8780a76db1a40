package main

import (
	"fmt"
	"time"
)

// soak keeps all kinds of checks going on one server, with a fault each minute, and wants memory and goroutines flat.
func (r *rig) soak(duration time.Duration, report *report) error {
	faults := r.faults()
	var usable []fault
	for _, f := range faults {
		if f.settings == nil {
			usable = append(usable, f)
		}
	}
	began := time.Now()
	var first, last float64 // MiB
	for i := 0; time.Since(began) < duration && r.ctx.Err() == nil; i++ {
		minute := time.Now()
		if err := r.people[0].renew(r.issuer.url); err != nil {
			return err
		}
		f := usable[i%len(usable)]
		if err := r.runFault(&f, report); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := r.calm(time.Until(minute.Add(time.Minute)), report); err != nil {
			return err
		}
		last = r.server.metric("process_resident_memory_bytes", "") / (1 << 20)
		if time.Since(began) < duration/2 {
			first = max(first, last) // until what may be remembered is, and the collector has found its pace
		}
		fmt.Printf("%4.0f min: %.0f MiB resident, %.0f goroutines\n", time.Since(began).Minutes(), last, r.server.metric("go_goroutines", ""))
	}
	if last > first+32 {
		report.note("soak", []string{fmt.Sprintf("%.0f MiB resident at the end, at most %.0f in its first half", last, first)})
	}
	return nil
}

// calm is load without a fault, in which nothing may fail.
func (r *rig) calm(duration time.Duration, report *report) error {
	c, err := dial(r.server.checks, nil)
	if err != nil {
		return err
	}
	defer c.connection.Close()
	l := startLoad(r.ctx, c, r.probes())
	began := time.Now()
	time.Sleep(max(duration, time.Second))
	l.end()
	row := judge(&fault{name: "calm", of: "nothing at all"}, l, began, began.Add(-recoveryTime))
	report.note("calm", row.wrong)
	if len(row.wrong) > 0 {
		fmt.Println(r.server.LogEnd())
	}
	return nil
}
