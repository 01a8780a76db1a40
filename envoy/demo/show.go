package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	email    = "zoe@example.com"
	password = "correct horse battery"
	name     = "Zoë Day"
)

// user is who signed in, with every credential that Better Auth gave out.
type user struct {
	id, email     string
	raw, jwt      string
	cookieValue   string // as a browser sends it
	signedSession string // the same, decoded
}

// credentials of one try: headers, and what they must give.
type try struct {
	title  string
	method string
	target string
	header map[string]string
	status int
	body   string // what the answer must hold
}

// show signs a user up and tries every kind of credential through Envoy.
func (d *demo) show(ctx context.Context) error {
	if _, err := call(ctx, "POST", d.publicURL+"/api/auth/sign-up/email", map[string]string{"Origin": d.publicURL},
		map[string]string{"name": name, "email": email, "password": password}); err != nil {
		return fmt.Errorf("signing up: %w", err)
	}
	u, err := d.signIn(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s has signed up and in through Envoy. What the backend answers to:\n\n", email)

	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	withCookie := map[string]string{"Cookie": d.cookie + "=" + u.cookieValue}
	forged := u.jwt[:strings.LastIndex(u.jwt, ".")+1] + strings.Repeat("A", 86)
	spoofed := bearer(u.raw)
	spoofed["x-user-id"] = "admin"
	crossSite := map[string]string{"Cookie": withCookie["Cookie"], "Sec-Fetch-Site": "cross-site"}
	me := d.publicURL + "/api/me"
	good := true
	for _, t := range []try{
		{"no credential", "GET", me, nil, 401, `{"detail":"Not authenticated: Missing Authorization header"}`},
		{"JWT", "GET", me, bearer(u.jwt), 200, `"id":"` + u.id + `"`},
		{"raw session token", "GET", me, bearer(u.raw), 200, `"id":"` + u.id + `"`},
		{"signed session token", "GET", me, bearer(u.signedSession), 200, `"id":"` + u.id + `"`},
		{"session cookie", "GET", me, withCookie, 200, `"id":"` + u.id + `"`},
		{"forged JWT", "GET", me, bearer(forged), 401, `{"detail":"Invalid token"}`},
		{"x-user-id: admin, spoofed", "GET", d.publicURL + "/api/headers", spoofed, 200, `["x-user-id","` + u.id + `"]`},
		{"POST by cookie from another site", "POST", d.publicURL + "/api/notes", crossSite, 403,
			`{"detail":"Cross-site request refused"}`},
	} {
		good = t.run(ctx) && good
	}
	good = d.showClosed() && good
	if _, err := call(ctx, "POST", d.publicURL+"/api/auth/sign-out",
		map[string]string{"Origin": d.publicURL, "Cookie": withCookie["Cookie"]}, map[string]string{}); err != nil {
		return fmt.Errorf("signing out: %w", err)
	}
	after := try{"the same session after sign-out", "GET", me, bearer(u.raw), 401, `{"detail":"Invalid token"}`}
	if good = after.run(ctx) && good; !good {
		return errWrongAnswer
	}
	fmt.Println("\nall as it should be")
	return nil
}

// showClosed prints how the way past Envoy is closed: by the mode of the folder that the backend's socket is in.
func (d *demo) showClosed() bool {
	const title = "past Envoy, at the backend's socket"
	info, err := os.Stat(filepath.Dir(d.backendSocket()))
	if err != nil || info.Mode().Perm() != 0o700 {
		fmt.Printf("✗ %-38s %v %v\n  should be: a folder with mode 0700\n", title, info, err)
		return false
	}
	fmt.Printf("✓ %-38s no TCP port, and its folder is %v: for the user who runs Envoy\n", title, info.Mode())
	return true
}

// run sends one request, prints a line and tells whether the answer is right.
func (t *try) run(ctx context.Context) bool {
	answer, err := call(ctx, t.method, t.target, t.header, nil)
	isRight := answer.status == t.status && strings.Contains(answer.body, t.body)
	mark := "✓"
	if !isRight {
		mark = "✗"
	}
	shown := answer.body
	if answer.status == 0 {
		shown = err.Error()
	}
	if strings.HasPrefix(shown, "[[") && isRight {
		shown = t.body // of the backend's headers, the one in question
	}
	fmt.Printf("%s %-38s %d  %s\n", mark, t.title, answer.status, shown)
	if !isRight {
		fmt.Printf("  should be: %d with %s\n", t.status, t.body)
	}
	return isRight
}

// signIn signs the demo's user in through Envoy and collects the credentials.
func (d *demo) signIn(ctx context.Context) (user, error) {
	answer, err := call(ctx, "POST", d.publicURL+"/api/auth/sign-in/email", map[string]string{"Origin": d.publicURL},
		map[string]string{"email": email, "password": password})
	if err != nil {
		return user{}, fmt.Errorf("signing in: %w", err)
	}
	var session struct {
		Token string
		User  struct{ ID string }
	}
	if err := json.Unmarshal([]byte(answer.body), &session); err != nil {
		return user{}, fmt.Errorf("signing in: %w", err)
	}
	u := user{id: session.User.ID, email: email, raw: session.Token}
	for _, line := range answer.header.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == d.cookie {
			u.cookieValue = c.Value
		}
	}
	if u.signedSession, err = url.PathUnescape(u.cookieValue); err != nil {
		return user{}, err
	}
	answer, err = call(ctx, "GET", d.publicURL+"/api/auth/token",
		map[string]string{"Cookie": d.cookie + "=" + u.cookieValue}, nil)
	if err != nil {
		return user{}, fmt.Errorf("getting a JWT: %w", err)
	}
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(answer.body), &token); err != nil {
		return user{}, fmt.Errorf("getting a JWT: %w", err)
	}
	u.jwt = token.Token
	return u, nil
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request, with a body as JSON unless it is nil. A status of 400 or more is an error too.
func call(ctx context.Context, method, target string, header map[string]string, body any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return answer{}, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{response.StatusCode, response.Header, string(text)}
	if a.status >= 400 {
		err = fmt.Errorf("%s gives %d %s", target, a.status, a.body)
	}
	return a, err
}
