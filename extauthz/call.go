package extauthz

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"extauthz/extauthz/internal/checkwire"
	"extauthz/extauthz/internal/guard"
	"extauthz/extauthz/internal/intake"
	"extauthz/extauthz/internal/request"
)

// Register makes the server answer envoy.service.auth.v3.Authorization by this Authorizer. Make the server with
// [ServerOptions]: on another one the answers are the same, but each is decoded and encoded once more. A message is
// read within Config.MaxMessageBytes, whatever grpc.MaxRecvMsgSize is.
//
// After an error nothing is registered: there is no server, it has this service already, or the Authorizer is closed.
// It is to be called before the server serves: gRPC itself ends the process otherwise.
func (a *Authorizer) Register(server grpc.ServiceRegistrar) (err error) {
	description := authv3.Authorization_ServiceDesc
	description.Methods = []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}}
	if isNil(server) {
		return errors.New("no gRPC server to register with; create one with grpc.NewServer")
	}
	if a.life.closed.Load() {
		return errors.New("the Authorizer is closed; create another one with New")
	}
	// gRPC ends the process where a name is registered twice, so it is asked before.
	if lister, can := server.(interface {
		GetServiceInfo() map[string]grpc.ServiceInfo
	}); can {
		if _, taken := lister.GetServiceInfo()[description.ServiceName]; taken {
			return fmt.Errorf("the gRPC server has %s already; register one Authorizer per server", description.ServiceName)
		}
	}
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the gRPC server accepts no service: %v", fault)
		}
	}()
	server.RegisterService(&description, a)
	return nil
}

// isNil tells of an interface that it holds nothing to call.
func isNil(value any) bool {
	v := reflect.ValueOf(value)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// call is one check on its way from its stream to its answer. Its request's strings lie in its message and are
// gone when the answer is: what outlives the check copies them.
type call struct {
	message intake.Message
	request request.Request
}

var calls = sync.Pool{New: func() any { return new(call) }}

const (
	// maxKeptFields bounds the memory that a rare request of many fields leaves behind, for each list of fields.
	maxKeptFields = 64
)

// release gives back what the check held. What is kept for the next one holds nothing of this one's message.
func (c *call) release() {
	c.message.Release()
	r := &c.request
	*r = request.Request{
		Authorization: cleared(r.Authorization), Cookies: cleared(r.Cookies), SecFetchSite: cleared(r.SecFetchSite),
		Origin: cleared(r.Origin), IdentityNames: cleared(r.IdentityNames), Route: cleared(r.Route),
	}
	calls.Put(c)
}

func cleared[T any](list []T) []T {
	if cap(list) > maxKeptFields {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}

// handleCheck answers a check, whatever happens on its way: an error would be answered by Envoy's failure mode and not
// by ours.
func handleCheck(
	server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor,
) (response any, err error) {
	a := server.(*Authorizer)
	defer func() {
		if fault := recover(); fault != nil {
			a.panics.Report(guard.InCheck, fault)
			response, err = checkwire.DenialAnswer(ReasonInternalError), nil
		}
	}()
	stream, canRead := grpc.ServerTransportStreamFromContext(ctx).(intake.Stream)
	if interceptor != nil || !canRead {
		return a.handleDecoded(ctx, stream, decode, interceptor)
	}
	c := calls.Get().(*call)
	defer c.release()
	denial := a.intake.Receive(ctx, stream, &c.message, false)
	if denial == nil {
		denial = c.read(a.shadow.removesHeaders())
	}
	if denial != nil {
		return a.refuse(ctx, denial), nil
	}
	d := a.decide(ctx, &c.request)
	if a.shadow != ShadowOff {
		return newAnswer(a.shadowResponse(&c.request, &d))
	}
	return a.answerTo(&c.request, &d), nil
}

// handleDecoded answers a check by its decoded message, which an interceptor wants, body and all.
func (a *Authorizer) handleDecoded(
	ctx context.Context, stream intake.Stream, decode func(any) error, interceptor grpc.UnaryServerInterceptor,
) (any, error) {
	in := new(authv3.CheckRequest)
	if stream == nil {
		if err := decode(in); err != nil {
			return nil, err
		}
	} else {
		c := calls.Get().(*call)
		defer c.release()
		denial := a.intake.Receive(ctx, stream, &c.message, true)
		if denial == nil {
			denial = c.message.Decode(in)
		}
		if denial != nil {
			return a.refuse(ctx, denial), nil
		}
	}
	check := func(ctx context.Context, in any) (any, error) { return a.Check(ctx, in.(*authv3.CheckRequest)) }
	if interceptor == nil {
		return check(ctx, in)
	}
	info := &grpc.UnaryServerInfo{Server: a, FullMethod: authv3.Authorization_Check_FullMethodName}
	response, err := interceptor(ctx, in, info, check)
	if made, ok := response.(*authv3.CheckResponse); ok && err == nil {
		return newAnswer(made)
	}
	return response, err
}

// read fills the request from the message.
func (c *call) read(everyName bool) *Denial {
	c.request.EveryName = everyName
	if checkwire.ScanRequest(c.message.Bytes, &c.request) {
		return nil
	}
	in := new(authv3.CheckRequest)
	if denial := c.message.Decode(in); denial != nil {
		return denial
	}
	c.request = checkwire.ReadRequest(in)
	return nil
}

// refuse answers a check whose message could not be read. It is counted and logged like any other.
func (a *Authorizer) refuse(ctx context.Context, denial *Denial) any {
	r := request.Request{Unread: denial}
	d := a.decide(ctx, &r)
	if a.shadow == ShadowReportAndTrustClientHeaders {
		return a.shadowResponse(&r, &d)
	}
	// In the other shadow modes the client's own identity headers go, and which these are is not known here.
	return a.answerTo(&r, &d)
}
