// Package explain reads a credential that a person gives, and judges it step by step. It imports no other room and does
// not know who asks or how the steps are shown.
package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"extauthz/extauthz"
	"extauthz/extauthz/operator"
)

// Timeout is how long check waits for the JWKS or the database.
const Timeout = 5 * time.Second

// Text reads the credential and takes off what hurried people paste with it.
func Text(arg string, stdin io.Reader) (string, error) {
	if arg == "-" {
		const most = 1 << 20
		content, err := io.ReadAll(io.LimitReader(stdin, most))
		if err != nil {
			return "", fmt.Errorf("standard input cannot be read: %w", err)
		}
		arg = string(content)
	}
	arg = strings.TrimSpace(arg)
	if scheme, token, found := strings.Cut(arg, " "); found && strings.EqualFold(scheme, "Bearer") {
		arg = strings.TrimSpace(token)
	}
	if arg == "" {
		return "", errors.New("the credential is empty; give the token or the cookie's value")
	}
	return arg, nil
}

// Credential judges a credential once the part that judges it has answered, while there is hope.
func Credential(ctx context.Context, authorizer *extauthz.Authorizer, text string, isCookie bool) extauthz.Explanation {
	part := operator.PartOf(text, isCookie)
	deadline := time.Now().Add(Timeout / 2)
	for time.Now().Before(deadline) && ctx.Err() == nil && isAwaited(authorizer.Missing(), part) {
		time.Sleep(10 * time.Millisecond)
	}
	return authorizer.Explain(ctx, Presented(text, isCookie))
}

// isAwaited tells whether a part is missing, of whichever issuer: whose the credential is is known only when it is
// judged.
func isAwaited(missing []string, part string) bool {
	return slices.ContainsFunc(missing, func(one string) bool {
		name, _, _ := strings.Cut(one, " of ")
		return name == part || name == "redis" && part == "database" // sessions may be in both
	})
}

// Presented is a credential as it was given: the cookie's value or a Bearer token.
func Presented(text string, isCookie bool) extauthz.Credential {
	if isCookie {
		return extauthz.Cookie(text)
	}
	return extauthz.Bearer(text)
}
