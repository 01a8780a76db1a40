package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// message is an encoded CheckRequest or CheckResponse: the load generator shares two cores with the
// server that it measures, so it encodes each request once and decodes few answers.
type message []byte

// rawCodec passes messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*message))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*message) = data.Materialize()
	return nil
}

// encode is a check as Envoy sends it for a browser's call.
func encode(token string, padding int) message {
	headers := map[string]string{
		"authorization": "Bearer " + token, "accept": "application/json", "accept-language": "de-CH,de;q=0.9,en;q=0.8",
		"accept-encoding": "gzip, deflate, br, zstd",
		"user-agent":      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
		"sec-fetch-site":  "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "referer": "https://app.example.com/notes",
		"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-request-id": "0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d",
		":method": "GET", ":path": "/api/me", ":authority": "api.example.com", ":scheme": "https",
	}
	if padding > 0 {
		headers["x-padding"] = strings.Repeat("p", padding)
	}
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example.com", Path: "/api/me", Scheme: "https", Headers: headers}}}}
	encoded, err := proto.Marshal(in)
	if err != nil {
		panic(err)
	}
	return encoded
}

// result is what a round of load came to.
type result struct {
	checks  int
	seconds float64
	cpu     float64 // seconds of the server's processor time, user and system
	refused int     // answers that were not an allow
}

func (r result) perSecond() float64 { return float64(r.checks) / r.seconds }

// microseconds is the server's processor time a check.
func (r result) microseconds() float64 { return r.cpu / float64(r.checks) * 1e6 }

// drive sends so many checks, so many of them in flight at once, over four connections, and measures the
// server with this pid.
func drive(address string, pid, checks, inFlight int, messages []message) (result, error) {
	const connections = 2
	var clients [connections]*grpc.ClientConn
	for i := range clients {
		client, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			return result{}, err
		}
		defer client.Close()
		client.Connect()
		clients[i] = client
	}
	before, err := processorTime(pid)
	if err != nil {
		return result{}, err
	}
	var next, refused atomic.Int64
	var failed atomic.Pointer[error]
	var work sync.WaitGroup
	started := time.Now()
	for i := range inFlight {
		work.Go(func() {
			client := clients[i%connections]
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			for failed.Load() == nil {
				n := int(next.Add(1)) - 1
				if n >= checks {
					return
				}
				var answer message
				if err := client.Invoke(ctx, authv3.Authorization_Check_FullMethodName, &messages[n%len(messages)], &answer); err != nil {
					failed.Store(&err)
					return
				}
				if !isAllow(answer) {
					refused.Add(1)
				}
			}
		})
	}
	work.Wait()
	seconds := time.Since(started).Seconds()
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	after, err := processorTime(pid)
	return result{checks, seconds, after - before, int(refused.Load())}, err
}

// isAllow looks for ok_response (field 3) among an answer's few top-level fields.
func isAllow(answer message) bool {
	var response authv3.CheckResponse
	if len(answer) > 0 && answer[0] == 0x0a && len(answer) > 2 && answer[1] == 0 && answer[2] == 0x1a {
		return true // an empty status and then ok_response: what every allow looks like
	}
	return proto.Unmarshal(answer, &response) == nil && response.GetOkResponse() != nil
}

// processorTime is what Linux counts for a process, in seconds.
func processorTime(pid int) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	const ticks = 100 // USER_HZ, fixed on Linux
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat is not as expected", pid)
	}
	return (user + system) / ticks, nil
}

// residentMemory is what a process has in memory now, in bytes.
func residentMemory(pid int) (int, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content))
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}
