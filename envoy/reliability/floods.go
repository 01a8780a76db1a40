package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"extauthz/extauthz"
)

// flood is what clients can send to harm others. It comes from a process of its own, for its work is not the server's.
type flood struct {
	name    string
	matters bool
	count   int // of checks, at most
	senders int // of them, at once
	header  func(j *floodJob, i int) map[string]string
	// other floods instead of checks, until ctx ends, and returns how much it did.
	other func(ctx context.Context, address string) int
	// mayAllow tells that its credentials are good ones.
	mayAllow bool
	// duration bounds it; floodTime when zero.
	duration time.Duration
}

func (f *flood) time() time.Duration {
	if f.duration > 0 {
		return f.duration
	}
	return floodTime
}

// floodJob is what the flood's process is told, as JSON on its standard input.
type floodJob struct {
	Name, Address, JWT string
	Count              int
	Expired, Fresh     []string
}

// floodResult is what it tells at its end, on its standard output.
type floodResult struct {
	Sent, Shed int
	Wrong      map[string]int
}

const (
	goodSenders = 8
	// floodTime bounds a flood.
	floodTime = 14 * time.Second
	aloneTime = 3 * time.Second
	// maxResident is what the server may take: what may be remembered, the collector's room and a margin.
	maxResident = 512.0 // MiB
	maxQueries  = 8000.0
)

func forged(j *floodJob, i int) map[string]string {
	return bearer(j.JWT[:strings.LastIndex(j.JWT, ".")+1] + fmt.Sprintf("%022d", i) + strings.Repeat("A", 64))
}

func madeUp(_ *floodJob, i int) map[string]string {
	return bearer(sign(fmt.Sprintf(`{"alg":"EdDSA","kid":"made-up-%d"}`, i), map[string]any{"sub": "x"},
		func([]byte) []byte { return make([]byte, 64) }))
}

var long = strings.Repeat("x", 1<<20)

var floods = []flood{
	{name: "made-up keys, 64 at once", matters: true, count: 1_000_000, senders: 64, header: madeUp},
	{name: "made-up keys, 8,000 at once", count: 1_000_000, senders: 8000, header: madeUp, duration: 90 * time.Second},
	{name: "forged signatures on a known key, 64 at once", matters: true, count: 1_000_000, senders: 64, header: forged},
	{name: "forged signatures on a known key, 8,000 at once", count: 1_000_000, senders: 8000, header: forged},
	{name: "expired tokens, each another", count: 1_000_000, senders: 64,
		header: func(j *floodJob, i int) map[string]string { return bearer(j.Expired[i%len(j.Expired)]) }},
	{name: "valid tokens, each another", count: 1_000_000, senders: 64,
		header: func(j *floodJob, i int) map[string]string { return bearer(j.Fresh[i%len(j.Fresh)]) }, mayAllow: true},
	{name: "made-up session tokens, 64 at once", matters: true, count: 1_000_000, senders: 64,
		header: func(_ *floodJob, i int) map[string]string { return bearer(fmt.Sprintf("%032d", i)) }},
	{name: "made-up session tokens, 8,000 at once", count: 1_000_000, senders: 8000,
		header: func(_ *floodJob, i int) map[string]string { return bearer(fmt.Sprintf("%032d", i)) }},
	{name: "headers of 1 MiB", count: 1_000_000, senders: goodSenders, header: func(j *floodJob, _ int) map[string]string {
		return map[string]string{"authorization": "Bearer " + j.JWT[:20], "x-user-junk": long}
	}},
	{name: "a credential of 500 KiB", count: 1_000_000, senders: goodSenders,
		header: func(*floodJob, int) map[string]string { return bearer(long[:500<<10]) }},
	{name: "10,000 connections", other: func(ctx context.Context,
		address string) int {
		return openConnections(ctx, address, 10_000, false)
	}},
	{name: "2,000 clients that never end their request",
		other: func(ctx context.Context, address string) int { return openConnections(ctx, address, 2_000, true) }},
}

// floodByStdin is the flood's process.
func floodByStdin(ctx context.Context) error {
	var job floodJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	i := slices.IndexFunc(floods, func(f flood) bool { return f.name == job.Name })
	time.AfterFunc(floods[i].time(), cancel)
	result, err := floods[i].run(ctx, &job)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func (f *flood) run(ctx context.Context, job *floodJob) (result floodResult, err error) {
	if f.other != nil {
		result.Sent = f.other(ctx, job.Address)
		return result, nil
	}
	var (
		sent, shed atomic.Int64
		work       sync.WaitGroup
		mu         sync.Mutex
	)
	result.Wrong = map[string]int{}
	for range 4 {
		c, err := dial(job.Address, nil)
		if err != nil {
			return result, err
		}
		defer c.connection.Close()
		for range f.senders / 4 {
			work.Go(func() {
				for ctx.Err() == nil {
					i := int(sent.Add(1))
					if i > job.Count {
						return
					}
					a := c.check(ctx, f.header(job, i))
					if ctx.Err() != nil {
						return
					}
					if a.status == 503 || status.Code(a.err) == codes.ResourceExhausted {
						shed.Add(1)
					}
					if a.reason == string(extauthz.ReasonInternalError) || f.mayAllow && a.status != 200 && a.status != 503 ||
						!f.mayAllow && a.status == 200 {
						mu.Lock()
						result.Wrong[fmt.Sprintf("an answer of the flood: %d %s %v", a.status, a.reason, a.err)]++
						mu.Unlock()
					}
				}
			})
		}
	}
	work.Wait()
	result.Sent, result.Shed = int(sent.Load()), int(shed.Load())
	return result, nil
}

// start runs the flood in a process of its own, which gives way to others: a flood comes from other machines.
func (f *flood) start(ctx context.Context, job floodJob) (end func() (floodResult, error), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	input, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, "nice", "-n", "10", self, "-flood")
	var output bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &output, os.Stderr
	if err := command.Start(); err != nil {
		return nil, err
	}
	return func() (result floodResult, err error) {
		if err := command.Wait(); err != nil {
			return result, err
		}
		return result, json.Unmarshal(output.Bytes(), &result)
	}, nil
}

// runFloods runs one flood after another.
func (r *rig) runFloods(o *options, report *report) error {
	for i := range 20_000 {
		r.expired = append(r.expired, r.issuer.issueCurrent(map[string]any{"exp": time.Now().Unix() - 600, "n": i}))
		r.fresh = append(r.fresh, r.issuer.issueCurrent(map[string]any{"n": i, "exp": time.Now().Unix() + 7200}))
	}
	for _, f := range floods {
		if !o.selected(f.name, f.matters) {
			continue
		}
		if o.short {
			f.count, f.duration = f.count/20, 0
		}
		if err := r.runFlood(&f, report); err != nil {
			return fmt.Errorf("flood of %s: %w", f.name, err)
		}
	}
	return nil
}

func (r *rig) runFlood(f *flood, report *report) error {
	s, err := r.startServer("flooded")
	if err != nil {
		return err
	}
	defer s.Stop()
	row := floodRow{name: f.name}
	// As many senders as in the flood are the measure of a fair share: of n senders of one kind each has its n-th.
	alone, _, _, err := r.sendGood(r.ctx, s, goodSenders, aloneTime)
	if err != nil {
		return err
	}
	row.alone, row.fair = alone, 1
	senders := f.senders
	if senders > 0 {
		row.fair = float64(goodSenders) / float64(goodSenders+senders)
		// Alone at full tilt the server does more; so the share is of what as many good senders would get.
		if row.alone, _, _, err = r.sendGood(r.ctx, s, goodSenders+min(senders, 64), aloneTime); err != nil {
			return err
		}
	}

	fetches, queries := r.issuer.fetches.Load(), s.metric("extauthz_database_queries_total", "")
	began := time.Now()
	end, err := f.start(r.ctx, floodJob{f.name, s.checks, r.people[0].jwt, f.count, r.expired, r.fresh})
	if err != nil {
		return err
	}
	time.Sleep(time.Second) // until it is at full tilt
	if f.other != nil {
		time.Sleep(3 * time.Second)
	}
	var work sync.WaitGroup
	watch := make(chan struct{})
	var most float64
	work.Go(func() {
		for {
			select {
			case <-watch:
				return
			case <-time.After(200 * time.Millisecond):
				most = max(most, s.metric("process_resident_memory_bytes", "")/(1<<20))
			}
		}
	})
	good, slowest, bad, err := r.sendGood(r.ctx, s, goodSenders, f.time()-time.Since(began)-time.Second)
	took := time.Since(began).Seconds()
	row.fetches = float64(r.issuer.fetches.Load()-fetches) / took
	row.queries = (s.metric("extauthz_database_queries_total", "") - queries) / took
	close(watch)
	work.Wait()
	result, endErr := end()
	if err := errors.Join(err, endErr); err != nil {
		return err
	}
	row.good, row.slowest, row.memory = good, slowest, most
	row.sent = result.Sent
	row.shed = float64(result.Shed) / max(1, float64(result.Sent))
	for what, count := range result.Wrong {
		row.wrong = append(row.wrong, fmt.Sprintf("%s (%d times)", what, count))
	}
	outages := 0
	for what, count := range bad {
		if strings.HasPrefix(what, "503") { // within reason, for the flood takes its share
			outages += count
			continue
		}
		row.wrong = append(row.wrong, fmt.Sprintf("%s (%d times)", what, count))
	}
	switch {
	case float64(outages) > max(0.001, r.bounds.lost)*row.good*took:
		row.wrong = append(row.wrong, fmt.Sprintf("%d good checks were answered with 503", outages))
	case row.share() < r.bounds.share:
		row.wrong = append(row.wrong, fmt.Sprintf("the good checks kept %.2f of their share", row.share()))
	case row.slowest > r.bounds.longest:
		row.wrong = append(row.wrong, fmt.Sprintf("a good check took %s", row.slowest))
	case row.fetches > 6/took+0.5: // five at once, and one in three seconds
		row.wrong = append(row.wrong, fmt.Sprintf("%.1f fetches a second", row.fetches))
	case row.memory > maxResident:
		row.wrong = append(row.wrong, fmt.Sprintf("%.0f MiB resident", row.memory))
	case row.queries > maxQueries:
		row.wrong = append(row.wrong, fmt.Sprintf("%.0f queries a second", row.queries))
	}
	report.addFlood(row)
	if len(row.wrong) > 0 {
		fmt.Println(s.LogEnd())
	}
	return nil
}

// sendGood sends good checks as fast as they are answered, and tells how many a second, the slowest, and what was
// wrong.
func (r *rig) sendGood(
	ctx context.Context, s *server, senders int, duration time.Duration,
) (perSecond float64, slowest time.Duration, wrong map[string]int, err error) {
	ctx, cancel := context.WithCancel(ctx) // by itself and not by a deadline, which the server would be told
	defer cancel()
	time.AfterFunc(duration, cancel)
	good := []map[string]string{bearer(r.people[0].jwt), bearer(r.people[0].session)}
	var (
		count atomic.Int64
		mu    sync.Mutex
		work  sync.WaitGroup
		began = time.Now()
	)
	wrong = map[string]int{}
	for i := range senders {
		if i%8 == 0 && ctx.Err() != nil {
			break
		}
		c, err := dial(s.checks, nil)
		if err != nil {
			return 0, 0, nil, err
		}
		defer c.connection.Close()
		work.Go(func() {
			for ctx.Err() == nil {
				a := c.check(ctx, good[i%2])
				if ctx.Err() != nil {
					return
				}
				count.Add(1)
				mu.Lock()
				slowest = max(slowest, a.took)
				if a.status != 200 {
					wrong[fmt.Sprintf("%d %s for a good check, %v", a.status, a.reason, a.err)]++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return float64(count.Load()) / time.Since(began).Seconds(), slowest, wrong, nil
}

// openConnections opens as many connections as it gets and keeps them. With begun it starts a request on each and never
// ends it.
func openConnections(ctx context.Context, address string, count int, begun bool) int {
	var connections []net.Conn
	for range count {
		if ctx.Err() != nil {
			break
		}
		// Of another address of this machine each, so that ports do not run out.
		dialer := net.Dialer{Timeout: time.Second,
			LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+len(connections)%200))}}
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			break // it does not take more
		}
		defer connection.Close()
		connections = append(connections, connection)
		_ = beginHTTP2(connection, begun) // the server may have closed it, which is its right
	}
	<-ctx.Done()
	return len(connections)
}

// beginHTTP2 says what a client says first, and with request also the headers of a call whose message never comes.
func beginHTTP2(connection net.Conn, request bool) error {
	if _, err := connection.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	framer := http2.NewFramer(connection, connection)
	if err := framer.WriteSettings(); err != nil || !request {
		return err
	}
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"},
		{":path", "/envoy.service.auth.v3.Authorization/Check"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()),
		EndHeaders: true})
}
