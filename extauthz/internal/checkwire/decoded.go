package checkwire

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"extauthz/extauthz/internal/request"
)

// ReadRequest reads the fields from headers and from header_map; Envoy sends one of the two
// (encode_raw_headers). A field that stands in both counts as repeated, which is the safe reading.
func ReadRequest(in *authv3.CheckRequest) request.Request {
	attributes := in.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	r := request.Request{
		Method: http.GetMethod(),
		Scheme: http.GetScheme(),
		Host:   http.GetHost(),
		Path:   http.GetPath(),
		Client: attributes.GetSource().GetAddress().GetSocketAddress().GetAddress(),

		EveryName: true,
	}
	headers := http.GetHeaders()
	for _, name := range slices.Sorted(maps.Keys(headers)) { // in an order that is always the same
		r.ReadHeader(name, headers[name])
	}
	for _, header := range http.GetHeaderMap().GetHeaders() {
		r.ReadHeader(header.GetKey(), headerValue(header))
	}
	extensions := attributes.GetContextExtensions()
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		r.Route = append(r.Route, request.Setting{Name: name, Value: extensions[name]})
	}
	r.Finish()
	return r
}

func headerValue(header *corev3.HeaderValue) string {
	if raw := header.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return header.GetValue()
}
