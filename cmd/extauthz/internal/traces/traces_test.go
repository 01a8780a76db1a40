package traces

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"extauthz/cmd/extauthz/internal/commandtest"
	"extauthz/cmd/extauthz/internal/discreet"
)

// The errors of other libraries that hold a URL are shown without it.
func TestFaultsWithoutURLs(t *testing.T) {
	request, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+commandtest.ClosedPort(t)+"/?key=s3cret", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = http.DefaultClient.Do(request)
	if err == nil || !strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("%v", err)
	}
	for _, fault := range []error{discreet.WithoutURL(err), spanFault(err), spanFault(fmt.Errorf("traces export: %w", err)), discreet.Error(err), discreet.Error(errors.New(err.Error()))} {
		if strings.Contains(fault.Error(), "s3cret") || !strings.Contains(fault.Error(), "refused") {
			t.Errorf("%v", fault)
		}
	}
	var out bytes.Buffer
	discreet.Complain(&out, "--listen", errors.New(`is "https://host?s3cret"`))
	if out.String() != "extauthz: --listen is \"https://host\"\n" {
		t.Error(out.String())
	}
}
