package checkwire_test

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// header is one header of a request.
type header struct{ name, value string }

// wire are the two ways in which Envoy sends headers.
var wire = map[string]func(method string, headers []header) *authv3.CheckRequest{
	"headers": func(method string, headers []header) *authv3.CheckRequest {
		byName := map[string]string{}
		for _, h := range headers {
			byName[h.name] = h.value
		}
		return checkRequest(&authv3.AttributeContext_HttpRequest{Method: method, Headers: byName})
	},
	"header_map": func(method string, headers []header) *authv3.CheckRequest {
		list := &corev3.HeaderMap{}
		for _, h := range headers {
			list.Headers = append(list.Headers, &corev3.HeaderValue{Key: h.name, RawValue: []byte(h.value)})
		}
		return checkRequest(&authv3.AttributeContext_HttpRequest{Method: method, HeaderMap: list})
	},
}

func checkRequest(http *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
	http.Host, http.Scheme, http.Path = "api.example.com", "https", "/api/me?secret=in-the-query"
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.7"}}}},
		Request: &authv3.AttributeContext_Request{Http: http},
	}}
}

// browserRequest are the headers that Envoy sends for a browser's call, some headers and a token.
var browserRequest = []header{
	{"authorization", "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJ1c2VyLTEiLCJleHAiOjF9.c2lnbmF0dXJl"},
	{"accept", "application/json"}, {"accept-language", "de-CH,de;q=0.9,en;q=0.8"}, {"accept-encoding", "gzip, deflate, br, zstd"},
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"},
	{"sec-fetch-site", "same-origin"}, {"sec-fetch-mode", "cors"}, {"sec-fetch-dest", "empty"},
	{"referer", "https://app.example.com/notes"}, {"x-forwarded-for", "192.0.2.7"}, {"x-forwarded-proto", "https"},
	{"x-request-id", "0b8f4dd5-6a3e-4c0e-8a2b-0d6f4a5b6c7d"}, {":method", "GET"}, {":path", "/api/me"},
	{":authority", "api.example.com"}, {":scheme", "https"},
}
