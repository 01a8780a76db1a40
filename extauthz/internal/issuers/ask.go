package issuers

import (
	"context"
	"net/http"
	"time"

	"extauthz/extauthz/internal/dryrun"
	"extauthz/extauthz/internal/identity"
	"extauthz/extauthz/internal/issuer"
	"extauthz/extauthz/internal/reason"
)

const (
	// askPatience is how long one issuer is waited for before the next is asked too: one that hangs is not to take the
	// others' time.
	askPatience = 25 * time.Millisecond
	// orderShare is the share of a check's time for which an earlier issuer's answer is waited for, though a later one
	// has the credential. Past it the later one's counts.
	orderShare = 2
)

// answer is what one issuer says of a credential.
type answer struct {
	who   identity.Identity
	err   error
	fault any // that it panicked with
}

// isDecisive tells that the credential is this issuer's, good or bad.
func (a *answer) isDecisive() bool {
	return a.err == nil || rank(a.err) == 0
}

// rank orders what says that a credential is not an issuer's, or that it cannot tell, the most telling first. It is 0
// for a verdict.
func rank(err error) int {
	denial := reason.Of(err)
	if denial.Status() == http.StatusServiceUnavailable {
		return 1
	}
	switch denial.Reason() {
	case reason.UnknownSession:
		return 2
	case reason.BadSignature:
		return 3
	case reason.UnsignedToken:
		return 4
	case reason.SecretNotConfigured:
		return 5
	case reason.SessionsNotConfigured:
		return 6
	}
	return 0
}

// ask has the issuers judge a credential that does not say whose it is, in their order: the first that knows it
// decides. One that cannot answer fails nobody else's credentials; where nobody knows this one, it may be that one's,
// and cannot be judged.
func ask(
	ctx context.Context, issuers []*issuer.Issuer, presented issuer.Recognized,
) (identity.Identity, *issuer.Issuer, error) {
	var (
		among []*issuer.Issuer
		best  error
	)
	refuse := func(err error) {
		if best == nil || rank(err) < rank(best) {
			best = err
		}
	}
	for _, i := range issuers {
		if admitter, can := i.VerifierOf(presented.Kind.Method).(issuer.Admitter); can {
			if err := admitter.Admit(dryrun.With(ctx), &presented.Credential); err != nil {
				refuse(err)
				continue
			}
		}
		among = append(among, i)
	}
	switch len(among) {
	case 0:
		return identity.Identity{}, nil, best
	case 1:
		who, err := among[0].Verify(ctx, presented)
		if err != nil && rank(err) > 1 {
			return identity.Identity{}, nil, err
		}
		return who, among[0], err
	}
	// The answer that is not waited for may come after the check, whose texts are gone then.
	presented.Token, presented.Signature = among[0].Detach(presented.Token), among[0].Detach(presented.Signature)
	r := &round{among: among, answers: make([]*answer, len(among)), came: make(chan int, len(among))}
	chosen := r.run(ctx, presented)
	if chosen >= 0 {
		return r.answers[chosen].who, among[chosen], r.answers[chosen].err
	}
	for _, a := range r.answers {
		if a != nil {
			refuse(a.err)
		}
	}
	return identity.Identity{}, nil, best
}

// round is one credential's way through several issuers.
type round struct {
	among   []*issuer.Issuer
	answers []*answer // nil where there is none yet
	came    chan int  // whose came
	made    []answer  // by whose came; read after it
	begun   int
}

// run returns whose answer counts, or -1 when nobody knows the credential.
func (r *round) run(ctx context.Context, presented issuer.Recognized) int {
	r.made = make([]answer, len(r.among))
	begin := func() {
		at := r.begun
		r.begun++
		go func() {
			made := &r.made[at]
			defer func() {
				made.fault = recover()
				r.came <- at
			}()
			made.who, made.err = r.among[at].Verify(ctx, presented)
		}()
	}
	inOrder := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		inOrder = time.Until(deadline) / orderShare
	}
	order, next := time.NewTimer(inOrder), time.NewTimer(askPatience)
	defer order.Stop()
	defer next.Stop()
	inOrderOnly, answered := true, 0
	for begin(); ; {
		for r.begun < len(r.among) && isFailing(r.among[r.begun-1]) {
			begin() // the one before is known not to answer
		}
		select {
		case at := <-r.came:
			answered++
			if fault := r.made[at].fault; fault != nil {
				panic(fault) // it is the check's own, and told as such
			}
			r.answers[at] = &r.made[at]
		case <-next.C:
			if r.begun < len(r.among) && ctx.Err() == nil {
				begin()
			}
			next.Reset(askPatience)
			continue
		case <-order.C:
			inOrderOnly = false
		}
		if at := r.first(inOrderOnly); at >= 0 {
			return at
		}
		switch {
		case answered < r.begun:
		case r.begun < len(r.among) && ctx.Err() == nil:
			begin()
			next.Reset(askPatience)
		default:
			return r.first(false)
		}
	}
}

// first is the first issuer that knows the credential. With inOrder all before it have said that they do not, or are
// known to fail.
func (r *round) first(inOrder bool) int {
	for at, a := range r.answers {
		switch {
		case a != nil && a.isDecisive():
			return at
		case a == nil && inOrder && !isFailing(r.among[at]):
			return -1
		}
	}
	return -1
}

// isFailing tells that the issuer's sessions were not to be had when they were asked for last.
func isFailing(i *issuer.Issuer) bool { return i.SessionsFail != nil && i.SessionsFail() }
