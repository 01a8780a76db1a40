// Package checkwire has CheckRequest and CheckResponse as bytes and as messages: how a request is read, how an answer
// is written. It imports request, identity and reason. It alone uses unsafe. It does not know how an answer is come to.
package checkwire

import (
	"strings"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"extauthz/extauthz/internal/request"
)

// This file takes the few fields that a check needs out of the message's bytes, and answer.go sends answers as
// bytes: with whole messages decoded and encoded, a seen token's check costs about twice as much.
// What it does not understand at a glance goes through the ordinary codec, with the same verdict.

// Codec is the codec of a gRPC server whose answers to checks are encoded already.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(grpcproto.Name)} }

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
		return f.takeText(2, &r.Method) && f.takeText(4, &r.Path) && f.takeText(5, &r.Host) && f.takeText(6, &r.Scheme) &&
			f.take(13, &headerMap)
	})
	if r.Headers > request.MaxHeaders && !r.EveryName {
		r.Finish()
		return true
	}
	// A name that stands twice in the map headers is for the ordinary codec to settle; in header_map it
	// is repeated indeed.
	if !ok || hasHeaders && (headerMap.value != nil || len(r.Authorization) > 1 || len(r.Cookies) > 1 ||
		len(r.SecFetchSite) > 1 || len(r.Origin) > 1) {
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
	if f.kind != protowire.BytesType ||
		!scan(f.value, func(f field) bool { return f.takeText(1, &s.Name) && f.takeText(2, &s.Value) }) {
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

// Detach is the text in memory of its own. A request's texts lie in its message, whose memory is used again once the
// check is answered: what outlives the check is detached, by this and nothing else.
func Detach(text string) string { return strings.Clone(text) }
