package envoy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/envoy/parts"
)

// stricterThanBetterAuth says, for each reason for which extauthz alone refuses a session credential, the line of the verdict table that it is.
var stricterThanBetterAuth = map[string]string{
	"malformed_credential": "a session token is raw or value.signature, percent-encoded once or not; what is neither is refused unseen",
	"missing_credential":   "a cookie's name is matched exactly",
	"bad_signature":        "a session token's signature is compared as text, so that a token has one only",
}

// mutate changes a session credential in up to three characters, or puts it together another way. The result can be a header's value.
func mutate(random *rand.Rand, text string, others []string) string {
	const alphabet = "ABCXYZabcxyz0123456789-_+/=.%\"'~!*:@"
	for range random.IntN(4) {
		at := random.IntN(len(text) + 1)
		switch random.IntN(9) {
		case 0, 1, 2:
			if at < len(text) {
				text = text[:at] + string(alphabet[random.IntN(len(alphabet))]) + text[at+1:]
			}
		case 3:
			text = text[:at] + string(alphabet[random.IntN(len(alphabet))]) + text[at:]
		case 4:
			if at < len(text) {
				text = text[:at] + text[at+1:]
			}
		case 5:
			text = text[:at]
		case 6: // another's signature
			value, _, _ := strings.Cut(text, ".")
			_, signature, _ := strings.Cut(others[random.IntN(len(others))], ".")
			text = value + "." + signature
		case 7:
			text = strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(text)
		case 8:
			text = strings.ReplaceAll(text, "%", "%25")
		}
	}
	return text
}

// Better Auth itself judges the same session credentials, as cookie and as bearer token, from users whose session lives, is expired and was
// ended. Nothing is allowed that Better Auth refuses; what only extauthz refuses has its line in the verdict table.
func TestBetterAuthAgreesOnSessions(t *testing.T) {
	const count = 4000
	s := startStack(t)
	live, other, expired, gone := s.signUp(t, "Live"), s.signUp(t, "Other"), s.signUp(t, "Expired"), s.signUp(t, "Gone")
	s.execute(t, `update "session" set "expiresAt" = now() - interval '1 minute' where "token" = $1`, expired.raw)
	s.signOut(t, gone)
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = parts.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	listen, admin := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	process, err := parts.StartExtauthz(t.Context(), t.TempDir(), s.binary, admin, "EXTAUTHZ_LISTEN="+listen, "BETTER_AUTH_URL="+s.issuerURL, "BETTER_AUTH_SECRET="+secret,
		"DATABASE_URL="+s.reader, "EXTAUTHZ_LOG_LEVEL=warn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Stop() })
	if err := process.Await(t.Context(), parts.AnswersHTTP("http://"+admin+"/readyz", 200)); err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient(listen, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	client := authv3.NewAuthorizationClient(connection)

	cookieValue := func(p person) string { return strings.TrimPrefix(p.cookie, "better-auth.session_token=") }
	originals := []string{live.raw, live.signed, cookieValue(live), other.raw, other.signed, cookieValue(other), expired.signed, cookieValue(expired), gone.signed, cookieValue(gone), expired.raw, gone.raw}
	seed := rand.Uint64()
	var (
		mu                    sync.Mutex
		bothAllow, bothRefuse int
		stricter              = map[string]int{}
		work                  sync.WaitGroup
	)
	for worker := range 4 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(worker)))
			for range count / 4 {
				text := mutate(random, originals[random.IntN(len(originals))], []string{live.signed, other.signed, expired.signed})
				header := map[string]string{"authorization": "Bearer " + text}
				sent := map[string]string{"Authorization": "Bearer " + text}
				if random.IntN(2) == 0 {
					header = map[string]string{"cookie": "better-auth.session_token=" + text}
					sent = map[string]string{"Cookie": header["cookie"]}
				}
				in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
					Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Headers: header}}}}
				response, err := client.Check(t.Context(), in)
				// A 503 is no opinion: it is asked again, and its cause is in the log.
				for again := 0; err == nil && response.GetDeniedResponse().GetStatus().GetCode() == http.StatusServiceUnavailable && again < 100; again++ {
					t.Logf("503, asked again; the end of extauthz's log:\n%s", process.LogEnd())
					time.Sleep(50 * time.Millisecond)
					response, err = client.Check(t.Context(), in)
				}
				if err != nil {
					t.Error(err)
					return
				}
				second := send(t, http.MethodGet, s.issuerURL+"/api/auth/get-session", sent, "")
				theirs := second.status == 200 && second.body != "null"
				ours := response.GetDeniedResponse() == nil
				reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
				mu.Lock()
				switch {
				case second.status != 200 && second.status != 401:
					t.Errorf("Better Auth answers %d %s", second.status, second.body)
				case ours && theirs:
					bothAllow++
					if user := response.GetDynamicMetadata().GetFields()["user_id"].GetStringValue(); !strings.Contains(second.body, user) {
						t.Errorf("%v is %s here, and for Better Auth %s", header, user, second.body)
					}
				case !ours && !theirs:
					bothRefuse++
				case ours:
					t.Errorf("seed %d: only extauthz allows %v: %d %s", seed, header, second.status, second.body)
				default:
					stricter[reason]++
					if stricterThanBetterAuth[reason] == "" {
						t.Errorf("seed %d: only extauthz refuses %v: %s", seed, header, reason)
					}
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	t.Logf("%d credentials: both allow %d, both refuse %d, only extauthz refuses %v", count, bothAllow, bothRefuse, stricter)
	if bothAllow < count/20 || bothRefuse < count/20 {
		t.Error("one outcome is hardly reached")
	}
}
