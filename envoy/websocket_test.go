package envoy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"extauthz/envoy/parts"
)

// The route of docs/websockets.md cuts a WebSocket at its bound, however busy it is, and leaves it alone until then;
// a sign-out does not.
func TestWebSocketIsBounded(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/websockets.md")
	if err != nil {
		t.Fatal(err)
	}
	snippet := regexp.MustCompile("(?s)```yaml route\n(.*?)```").FindSubmatch(page)
	if snippet == nil || !strings.Contains(string(snippet[1]), "max_stream_duration: 3600s") {
		t.Fatalf("docs/websockets.md has no route with max_stream_duration: 3600s: %s", snippet)
	}
	const bound, everything = 3 * time.Second, "                        - match: { prefix: / }\n"
	route := strings.NewReplacer("max_stream_duration: 3600s", "max_stream_duration: 3s", "path: /ws", "path: /api/echo").Replace(string(snippet[1]))
	indented := "                        " + strings.TrimRight(strings.ReplaceAll(route, "\n", "\n                        "), " \n") + "\n"
	m := startMeshWith(t, parts.EnvoyNewest, "http.yaml", func(config string) string {
		if !strings.Contains(config, everything) {
			t.Fatalf("the sample has no %q", everything)
		}
		return strings.Replace(config, everything, indented+everything, 1)
	})
	p := m.signUp(t, "Zoë Day")
	config, err := websocket.NewConfig("ws://"+m.address+"/api/echo", m.url)
	if err != nil {
		t.Fatal(err)
	}
	config.Header.Set("Cookie", p.cookie)
	began := time.Now()
	connection, err := websocket.DialConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	var text string
	if err := websocket.Message.Receive(connection, &text); err != nil || text != p.id {
		t.Fatalf("%q %v, want the user's id", text, err)
	}
	m.signOut(t, p)
	signedOut := time.Now()
	after := 0
	for {
		if err = websocket.Message.Send(connection, "hello"); err == nil {
			err = websocket.Message.Receive(connection, &text)
		}
		if err != nil {
			break
		}
		after++
		if time.Since(began) > time.Minute {
			t.Fatal("the WebSocket is open after a minute")
		}
		time.Sleep(20 * time.Millisecond)
	}
	// Envoy's clock begins with the request, which is after ours.
	if lived := time.Since(began); lived < bound {
		t.Errorf("cut after %s, before its bound of %s", lived, bound)
	}
	if time.Since(signedOut) < bound && after == 0 {
		t.Error("nothing passed after the sign-out, so the page's word on it was not tried")
	}
	if a := m.get(t, "/api/me", map[string]string{"Cookie": p.cookie}); a.status != 401 {
		t.Errorf("a new request after the sign-out: %d %s, want 401", a.status, a.body)
	}
}
