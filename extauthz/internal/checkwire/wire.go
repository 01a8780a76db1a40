// Package checkwire has CheckRequest and CheckResponse as bytes and as messages: how a request is read, how an answer is
// written. It imports request, identity and reason. It alone uses unsafe. It does not know how an answer is come to.
package checkwire

import (
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/reason"
	"extauthz/extauthz/internal/request"
)

// This file takes the few fields that a check needs out of the message's bytes, and sends answers as
// bytes: with whole messages decoded and encoded, a seen token's check costs about twice as much.
// What it does not understand at a glance goes through the ordinary codec, with the same verdict.

// Answer is an encoded CheckResponse. Once set it is never changed, so many calls may send it at once.
type Answer struct {
	Encoded mem.SliceBuffer
	buffers [1]mem.Buffer // &encoded: what gRPC takes, without an allocation for each call
}

// Set makes it the answer that is encoded so. It is to be called once.
func (a *Answer) Set(encoded []byte) { a.Encoded, a.buffers[0] = encoded, &a.Encoded }

// NewAnswer is the answer that is encoded so.
func NewAnswer(encoded []byte) *Answer {
	made := new(Answer)
	made.Set(encoded)
	return made
}

// Size is what the answer takes, in bytes.
func (a *Answer) Size() int { return len(a.Encoded) }

// ProtoReflect makes an answer a message for who does not know its bytes: the codec of a server without
// [ServerOptions], or a handler of statistics. It is a copy, decoded for each call.
func (a *Answer) ProtoReflect() protoreflect.Message { return a.decoded().ProtoReflect() }

func (a *Answer) decoded() *authv3.CheckResponse {
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(a.Encoded, response); err != nil {
		panic(err) // a fault of who encoded it
	}
	return response
}

// Identity reads back what EncodeAllow was given.
func (a *Answer) Identity() (who identity.Identity) {
	response := a.decoded()
	known := response.GetDynamicMetadata().GetFields()
	for i := range identity.Facts {
		fact := &identity.Facts[i]
		switch value := known[fact.Metadata]; {
		case value == nil:
		case fact.Time != nil:
			fact.Put(&who, "", time.Unix(int64(value.GetNumberValue()), 0))
		default:
			fact.Put(&who, value.GetStringValue(), time.Time{})
		}
	}
	// Further facts are read from their headers, which say which they are.
	for _, set := range response.GetOkResponse().GetHeaders() {
		header := set.GetHeader().GetKey()
		if slices.ContainsFunc(identity.Facts[:], func(fact identity.Fact) bool { return fact.Header == header }) {
			continue
		}
		if value, err := url.PathUnescape(set.GetHeader().GetValue()); err == nil {
			who.Further = append(who.Further, identity.Further{Header: header, Value: value})
		}
	}
	return who
}

// denialAnswers are all denials there are: an answer depends on the reason alone.
var denialAnswers = func() map[reason.Reason]*Answer {
	facts := reason.Facts()
	answers := make(map[reason.Reason]*Answer, len(facts))
	for i := range facts {
		encoded, err := proto.Marshal(DenyResponse(reason.Deny(facts[i].Reason)))
		if err != nil {
			panic(err) // at the start, and a fault of the table
		}
		denial := new(Answer)
		denial.Set(encoded)
		answers[facts[i].Reason] = denial
	}
	return answers
}()

// EncodeAllow is allowResponse, encoded without the message in between. It asks allowedFacts and
// headersToRemove as that does, and a test holds the two against each other.
func EncodeAllow(r *request.Request, who identity.Identity, further ...string) []byte {
	var common [commonFacts]allowedFact
	facts := allowedFacts(common[:0], &who)
	var scratch [512]byte
	headers, metadata := scratch[:0:256], scratch[256:256]
	for i := range facts {
		fact := &facts[i]
		// OkHttpResponse.headers: a HeaderValueOption of header {key, value} and append_action.
		value := sizeOfText(1, fact.header) + sizeOfText(2, fact.encoded)
		headers = protowire.AppendTag(headers, 2, protowire.BytesType)
		headers = protowire.AppendVarint(headers, uint64(protowire.SizeTag(1)+protowire.SizeBytes(value)+2))
		headers = protowire.AppendTag(headers, 1, protowire.BytesType)
		headers = protowire.AppendVarint(headers, uint64(value))
		headers = appendText(appendText(headers, 1, fact.header), 2, fact.encoded)
		headers = protowire.AppendTag(headers, 3, protowire.VarintType)
		headers = protowire.AppendVarint(headers, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		// Struct.fields: an entry of key and Value, which is a number or a text.
		inner := sizeOfText(3, fact.text)
		if fact.isNumber {
			inner = protowire.SizeTag(2) + protowire.SizeFixed64()
		}
		metadata = protowire.AppendTag(metadata, 1, protowire.BytesType)
		metadata = protowire.AppendVarint(metadata, uint64(sizeOfText(1, fact.name)+protowire.SizeTag(2)+protowire.SizeBytes(inner)))
		metadata = appendText(metadata, 1, fact.name)
		metadata = protowire.AppendTag(metadata, 2, protowire.BytesType)
		metadata = protowire.AppendVarint(metadata, uint64(inner))
		if fact.isNumber {
			metadata = protowire.AppendTag(metadata, 2, protowire.Fixed64Type)
			metadata = protowire.AppendFixed64(metadata, math.Float64bits(fact.number))
		} else {
			metadata = appendText(metadata, 3, fact.text)
		}
	}
	for _, name := range HeadersToRemove(r, facts, further) {
		headers = appendText(headers, 5, name)
	}
	encoded := make([]byte, 0, len(headers)+len(metadata)+16)
	encoded = append(encoded, 1<<3|2, 0) // status: empty, which is OK
	encoded = protowire.AppendBytes(protowire.AppendTag(encoded, 3, protowire.BytesType), headers)
	encoded = protowire.AppendBytes(protowire.AppendTag(encoded, 4, protowire.BytesType), metadata)
	return encoded
}

func sizeOfText(number protowire.Number, text string) int {
	return protowire.SizeTag(number) + protowire.SizeBytes(len(text))
}

func appendText(to []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), text)
}

// Codec is the codec of a gRPC server whose answers to checks are encoded already.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// DenialAnswer is the answer for a reason.
func DenialAnswer(reason reason.Reason) *Answer { return denialAnswers[reason] }

// codec reads calls and writes answers itself, and leaves every other message to the ordinary codec.
type codec struct{ ordinary encoding.CodecV2 }

// Name implements [encoding.CodecV2]: on the wire it is protobuf.
func (c codec) Name() string { return c.ordinary.Name() }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	if answer, ok := message.(*Answer); ok {
		return answer.buffers[:], nil
	}
	return c.ordinary.Marshal(message)
}

// Unmarshal implements [encoding.CodecV2].
func (c codec) Unmarshal(data mem.BufferSlice, message any) error {
	return c.ordinary.Unmarshal(data, message)
}

// ScanRequest fills r from an encoded CheckRequest, its strings lying in message. It returns false for
// what only the ordinary codec should judge: a field that stands twice, groups, text that is not
// UTF-8, anything cut short. r must be empty.
func ScanRequest(message []byte, r *request.Request) bool {
	var attributes, source, address, kind, outer, http field
	ok := scan(message, func(f field) bool { return f.take(1, &attributes) }) &&
		scan(attributes.value, func(f field) bool {
			return f.take(1, &source) && f.take(4, &outer) && (f.number != 10 || scanExtension(f, r))
		}) &&
		scan(source.value, func(f field) bool { return f.take(1, &address) }) &&
		// An address is one of three kinds; the first has an IP address.
		scan(address.value, func(f field) bool { return f.take(1, &kind) && f.take(2, &kind) && f.take(3, &kind) }) &&
		(kind.number != 1 || scan(kind.value, func(f field) bool { return f.takeText(2, &r.Client) })) &&
		scan(outer.value, func(f field) bool { return f.take(2, &http) })
	if !ok {
		return false
	}
	var headerMap field
	hasHeaders := false
	ok = scan(http.value, func(f field) bool {
		if f.number == 3 {
			hasHeaders = true
			return f.kind == protowire.BytesType && scanHeader(f.value, 0, r)
		}
		return f.takeText(2, &r.Method) && f.takeText(4, &r.Path) && f.takeText(5, &r.Host) && f.takeText(6, &r.Scheme) && f.take(13, &headerMap)
	})
	if r.Headers > request.MaxHeaders && !r.EveryName {
		r.Finish()
		return true
	}
	// A name that stands twice in the map headers is for the ordinary codec to settle; in header_map it
	// is repeated indeed.
	if !ok || hasHeaders && (headerMap.value != nil || len(r.Authorization) > 1 || len(r.Cookies) > 1 || len(r.SecFetchSite) > 1 || len(r.Origin) > 1) {
		return false
	}
	ok = scan(headerMap.value, func(f field) bool {
		return f.number != 1 || f.kind == protowire.BytesType && scanHeader(f.value, rawValue, r)
	})
	ok = ok || r.Headers > request.MaxHeaders && !r.EveryName
	r.Finish()
	return ok
}

// maxScannedSettings is how many entries of context_extensions are compared with each other. More are left to the
// ordinary codec.
const maxScannedSettings = 32

// scanExtension reads one of the map context_extensions. A name that stands twice is for the ordinary codec to settle.
func scanExtension(f field, r *request.Request) bool {
	var s request.Setting
	if len(r.Route) == maxScannedSettings {
		return false
	}
	if f.kind != protowire.BytesType || !scan(f.value, func(f field) bool { return f.takeText(1, &s.Name) && f.takeText(2, &s.Value) }) {
		return false
	}
	for _, earlier := range r.Route {
		if earlier.Name == s.Name {
			return false
		}
	}
	r.Route = append(r.Route, s)
	return true
}

// rawValue is the number of HeaderValue's raw_value, which goes before its value.
const rawValue = 3

// scanHeader reads one header: an entry of the map headers, or a HeaderValue, which may have raw bytes.
func scanHeader(message []byte, rawNumber protowire.Number, r *request.Request) bool {
	var key, value string
	var raw field
	ok := scan(message, func(f field) bool {
		return f.takeText(1, &key) && f.takeText(2, &value) && (f.number != rawNumber || f.take(rawNumber, &raw))
	})
	if len(raw.value) > 0 {
		value = text(raw.value)
	}
	r.ReadHeader(key, value)
	return ok
}

// field is one field of an encoded message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  []byte // of a field of bytes
}

// scan calls visit for each field of a message, until it returns false.
func scan(message []byte, visit func(field) bool) bool {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.BytesType:
			f.value, n = protowire.ConsumeBytes(message)
		case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
			n = protowire.ConsumeFieldValue(number, kind, message)
		default:
			return false
		}
		if n < 0 || !visit(f) {
			return false
		}
		message = message[n:]
	}
	return true
}

// take keeps the field if it has that number; false when it stands there a second time or is no bytes.
func (f *field) take(number protowire.Number, into *field) bool {
	if f.number != number {
		return true
	}
	if f.kind != protowire.BytesType || into.number != 0 {
		return false
	}
	*into = *f
	return true
}

// takeText is take for text. An empty text counts as absent, as in proto3.
func (f *field) takeText(number protowire.Number, into *string) bool {
	if f.number != number {
		return true
	}
	if f.kind != protowire.BytesType || *into != "" || !utf8.Valid(f.value) {
		return false
	}
	*into = text(f.value)
	return true
}

// text is the bytes as a string, without a copy.
func text(value []byte) string { return unsafe.String(unsafe.SliceData(value), len(value)) }

// Bytes is the string as bytes, without a copy. They are not to be changed.
func Bytes(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Detach is the text in memory of its own. A request's texts lie in its message, whose memory is used again once the check
// is answered: what outlives the check is detached, by this and nothing else.
func Detach(text string) string { return strings.Clone(text) }
