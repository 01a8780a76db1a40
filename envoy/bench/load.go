package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// message is an encoded CheckRequest: each is encoded once, since the load generator shares two cores with
// the server that it measures.
type message []byte

// encode is a check as Envoy sends it for a browser's call.
func encode(token string) message {
	headers := map[string]string{
		"authorization": "Bearer " + token, "accept": "application/json", "accept-language": "de-CH,de;q=0.9,en;q=0.8",
		"accept-encoding": "gzip, deflate, br, zstd",
		"user-agent":      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
		"sec-fetch-site":  "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty",
		"referer":         "https://app.example.com/notes",
		"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-request-id": "0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d",
		":method": "GET", ":path": "/api/me", ":authority": "api.example.com", ":scheme": "https",
	}
	return encodeHeaders(headers)
}

// encodeOfSize is a check whose headers' names and values are so many bytes long: few of them, and then as
// many of a hundred bytes as it takes.
func encodeOfSize(token string, size int) message {
	headers := map[string]string{":method": "GET", ":path": "/api/me", ":authority": "api.example.com", ":scheme": "https",
		"authorization": "Bearer " + token}
	for name, value := range headers {
		size -= len(name) + len(value)
	}
	for i := 0; size > len("x-padding-000"); i++ {
		name := fmt.Sprintf("x-padding-%03d", i)
		headers[name] = strings.Repeat("p", min(100, size)-len(name))
		size -= min(100, size)
	}
	return encodeHeaders(headers)
}

func encodeHeaders(headers map[string]string) message {
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "api.example.com", Path: "/api/me", Scheme: "https",
			Headers: headers}}}}
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

	database float64 // seconds of PostgreSQL's processor time
}

// keepBest keeps the better of each figure: a noisy neighbour may spoil a round's one and not the other.
func (r *result) keepBest(other result) {
	if r.checks == 0 {
		*r = other
		return
	}
	r.cpu, r.seconds, r.database = min(r.cpu, other.cpu), min(r.seconds, other.seconds), min(r.database, other.database)
}

func (r result) perSecond() float64 { return float64(r.checks) / r.seconds }

// microseconds is the server's processor time a check.
func (r result) microseconds() float64 { return r.cpu / float64(r.checks) * 1e6 }

// databaseMicroseconds is PostgreSQL's processor time a check.
func (r result) databaseMicroseconds() float64 { return r.database / float64(r.checks) * 1e6 }

// connections is how many HTTP/2 connections carry the checks, as from two workers of Envoy.
const connections = 2

// drive sends so many checks, so many of them in flight at once, and measures the server.
func drive(t target, checks, inFlight int, messages []message) (result, error) {
	before, err := processorTime(t.process.PID())
	if err != nil {
		return result{}, err
	}
	databaseBefore, err := familyTime(t.database)
	if err != nil {
		return result{}, err
	}
	var (
		next, refused atomic.Int64
		work          sync.WaitGroup
		failures      = make(chan error, connections)
		started       = time.Now()
	)
	for i := range min(connections, inFlight) {
		work.Go(func() {
			c := &client{messages: messages, checks: checks, next: &next, refused: &refused}
			if err := c.run(t.address, (inFlight+i)/min(connections, inFlight)); err != nil {
				failures <- err
			}
		})
	}
	work.Wait()
	seconds := time.Since(started).Seconds()
	if len(failures) > 0 {
		return result{}, <-failures
	}
	after, err1 := processorTime(t.process.PID())
	databaseAfter, err2 := familyTime(t.database)
	return result{checks: checks, seconds: seconds, cpu: after - before, database: databaseAfter - databaseBefore,
		refused: int(refused.Load())}, errors.Join(err1, err2)
}

// client is one connection of the load: a gRPC client (HTTP/2, RFC 9113) that does what unary calls need and
// no more. One goroutine reads and writes, so that its own cost stays a fraction of any server's.
type client struct {
	messages      []message
	checks        int
	next, refused *atomic.Int64

	framer  *http2.Framer
	out     *bufio.Writer
	in      *bufio.Reader
	headers []byte // a request's header block, all in the connection's table already
	stream  uint32 // the last one opened
	flying  int
	window  int64 // what the server lets us send on the connection
	answers map[uint32][]byte
}

// perStream is the window that a server gives each stream unless it says otherwise (RFC 9113 §6.9.2).
const perStream = 65535

func (c *client) run(address string, inFlight int) error {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return err
	}
	c.out, c.in = bufio.NewWriterSize(connection, 64<<10), bufio.NewReaderSize(connection, 64<<10)
	c.framer = http2.NewFramer(c.out, c.in)
	c.framer.SetReuseFrames()
	c.window, c.answers = perStream, make(map[uint32][]byte)
	fmt.Fprint(c.out, http2.ClientPreface)
	c.framer.WriteSettings()
	c.framer.WriteWindowUpdate(0, 1<<30)
	first := c.encodeHeaders() // twice: the second names what the first has put into the table
	for wanting := true; ; {
		for wanting && c.flying < inFlight && c.window >= perStream/2 {
			wanting, first = c.send(first), nil
		}
		if c.flying == 0 && !wanting {
			return nil
		}
		if c.in.Buffered() == 0 {
			if err := c.out.Flush(); err != nil {
				return err
			}
		}
		if err := c.receive(); err != nil {
			return err
		}
	}
}

func (c *client) encodeHeaders() (first []byte) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for range 2 {
		first = c.headers
		block.Reset()
		for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"},
			{":path", authv3.Authorization_Check_FullMethodName},
			{":authority", "authorizer"}, {"te", "trailers"}, {"grpc-timeout", "500m"}, {"content-type", "application/grpc"}} {
			encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		c.headers = bytes.Clone(block.Bytes())
	}
	return first
}

// send opens a stream with the next check, unless all are sent.
func (c *client) send(first []byte) bool {
	n := int(c.next.Add(1)) - 1
	if n >= c.checks {
		return false
	}
	headers := c.headers
	if first != nil {
		headers = first
	}
	if c.stream++; c.stream > 1 {
		c.stream++ // a client's streams have odd numbers
	}
	body := c.messages[n%len(c.messages)]
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: headers, EndHeaders: true})
	prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	const most = 16 << 10 // of a frame (RFC 9113 §4.2)
	whole := append(prefix, body...)
	for len(whole) > most {
		c.framer.WriteData(c.stream, false, whole[:most])
		whole = whole[most:]
	}
	c.framer.WriteData(c.stream, true, whole)
	c.window -= int64(len(prefix) + len(body))
	c.flying++
	return true
}

// receive reads one frame.
func (c *client) receive() error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	id := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if id == 0 {
			c.window += int64(f.Increment)
		}
	case *http2.DataFrame:
		c.answers[id] = append(c.answers[id], f.Data()...)
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			answer := c.answers[id]
			delete(c.answers, id)
			c.flying--
			if len(answer) < 5 { // no message: the call failed
				return fmt.Errorf("a call failed with %d bytes of answer", len(answer))
			}
			if !isAllow(answer[5:]) {
				c.refused.Add(1)
			}
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("the server ended a call: %s", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server ends the connection: %s", f.ErrCode)
	}
	return nil
}

// isAllow looks for ok_response (field 3) among an answer's few top-level fields.
func isAllow(answer []byte) bool {
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

// familyTime is processorTime for a process and its children, as PostgreSQL's are; none for pid 0.
func familyTime(pid int) (float64, error) {
	if pid == 0 {
		return 0, nil
	}
	total, err := processorTime(pid)
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for child := range strings.FieldsSeq(string(children)) {
		number, err := strconv.Atoi(child)
		if err != nil {
			return 0, err
		}
		if seconds, err := processorTime(number); err == nil { // else it has ended in between
			total += seconds
		}
	}
	return total, nil
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
