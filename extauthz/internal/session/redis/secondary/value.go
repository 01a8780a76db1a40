package secondary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValue bounds a session's value, in bytes. What is longer is no session: nothing that Better Auth writes comes
// near.
const MaxValue = 64 << 10

// maxID bounds an id, in bytes.
const maxID = 512

// Session is what a value says.
type Session struct {
	ExpiresAt           time.Time
	UserID, Email, Name string
	// BannedUntil is when the user's ban ends; zero when there is none.
	BannedUntil time.Time
	Facts       []string // those that were asked for, in their order; nil where none were
	// created is when it was made, in milliseconds since 1970; NaN where the value does not say so.
	created float64
}

// errForm says that a value is not of the form that Better Auth writes.
var errForm = errors.New("it is not an object with the objects session and user")

// Read reads the value of a token. Better Auth lets some of what is refused here pass, and fails by some of it:
//
//   - a name that stands twice, of which Better Auth takes the last;
//   - text that is not UTF-8, or that holds half a surrogate pair;
//   - session.token that is not the token, or is missing: an adapter that gave another key's value would
//     sign in a stranger;
//   - session.userId that is not user.id, or either missing: the marker is the one's, the name and the rights
//     the other's;
//   - expiresAt that is missing or no date, which never expires in Better Auth.
//
// Its error says what is wrong, and holds nothing of the value.
func Read(value, token string, facts ...Fact) (*Session, error) {
	if len(value) > MaxValue {
		return nil, fmt.Errorf("it is longer than %d bytes", MaxValue)
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.source.Reset(value)
	r.Decoder.Reset(&r.source)
	found := fields{Session: Session{created: math.NaN()}, banEnds: math.NaN()}
	err := r.object(func(name string) error {
		switch name {
		case "session":
			found.hasSession = true
			return r.object(func(name string) error { return r.sessionField(&found, name) })
		case "user":
			found.hasUser = true
			return r.object(func(name string) error { return r.userField(&found, name) })
		}
		return r.SkipValue()
	})
	if err == nil {
		_, err = r.ReadToken()
		if err == io.EOF {
			return found.judge(value, token, facts)
		}
	}
	if errors.Is(err, errDate) {
		return nil, err
	}
	return nil, errForm // jsontext's own errors quote the value
}

// fields is what is read of a value.
type fields struct {
	Session
	hasSession, hasUser, hasExpiry bool
	token, owner                   string
	isBanned                       bool
	banEnds                        float64 // NaN for never
}

// judge tells whether what was read is whole, and of this token.
func (f *fields) judge(value, token string, facts []Fact) (_ *Session, err error) {
	switch {
	case !f.hasSession || !f.hasUser:
		return nil, errForm
	case f.token != token:
		return nil, errors.New("session.token is not the token that it is kept under")
	case f.owner == "" || f.owner != f.UserID:
		return nil, errors.New("session.userId is not user.id")
	case len(f.UserID) > maxID:
		return nil, fmt.Errorf("user.id is longer than %d bytes", maxID)
	case !f.hasExpiry:
		return nil, errors.New("session.expiresAt is missing")
	case f.isBanned && math.IsNaN(f.banEnds):
		f.BannedUntil = time.UnixMilli(lastMilli)
	case f.isBanned:
		f.BannedUntil = time.UnixMilli(int64(f.banEnds))
	}
	if len(facts) > 0 {
		f.Facts, err = readFacts(value, facts)
	}
	return &f.Session, err
}

// reader reads values, one at a time.
type reader struct {
	*jsontext.Decoder
	source stringReader
}

var readers = sync.Pool{New: func() any { return &reader{Decoder: jsontext.NewDecoder(new(bytes.Buffer))} }}

// object reads an object, and hands the name of each member to read, which reads its value.
func (r *reader) object(read func(name string) error) error {
	if r.PeekKind() != '{' {
		return errForm
	}
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	for r.PeekKind() == '"' {
		name, err := r.ReadToken()
		if err != nil {
			return err
		}
		if err := read(name.String()); err != nil {
			return err
		}
	}
	_, err := r.ReadToken()
	return err
}

func (r *reader) sessionField(f *fields, name string) (err error) {
	switch name {
	case "token":
		f.token, err = r.text()
	case "userId":
		f.owner, err = r.id()
	case "expiresAt":
		var ms float64
		ms, err = r.date()
		if err != nil || math.IsNaN(ms) {
			return errors.Join(errDate, err)
		}
		f.ExpiresAt, f.hasExpiry = time.UnixMilli(int64(ms)), true
	case "createdAt":
		f.created, err = r.date()
		if errors.Is(err, errDate) {
			f.created, err = math.NaN(), nil // it counts where a marker stands, and is refused there
		}
	default:
		err = r.SkipValue()
	}
	return err
}

func (r *reader) userField(f *fields, name string) (err error) {
	switch name {
	case "id":
		f.UserID, err = r.id()
	case "email":
		f.Email, err = r.text()
	case "name":
		f.Name, err = r.text()
	case "banned":
		f.isBanned, err = r.truth()
	case "banExpires":
		f.banEnds, err = r.date()
		if errors.Is(err, errDate) {
			f.banEnds, err = math.NaN(), nil // nobody knows when, so never
		}
	default:
		err = r.SkipValue()
	}
	return err
}

// truth reads a truth value, as JavaScript would take it: what is there is true, but for false, null, 0 and the empty text.
func (r *reader) truth() (bool, error) {
	value, err := r.ReadValue()
	text := string(value)
	return text != "false" && text != "null" && text != "0" && text != `""`, err
}

// text reads a string; null is the empty one.
func (r *reader) text() (string, error) {
	switch r.PeekKind() {
	case 'n':
		return "", r.SkipValue()
	case '"':
		token, err := r.ReadToken()
		if err != nil {
			return "", err
		}
		return token.String(), nil
	}
	return "", errForm
}

// id reads a string, or a whole number as one.
func (r *reader) id() (string, error) {
	if r.PeekKind() != '0' {
		return r.text()
	}
	number, err := r.ReadValue()
	if err != nil || bytes.ContainsAny(number, ".eE") {
		return "", errForm
	}
	return string(number), nil
}

var errDate = errors.New("a date is not as in 2026-11-25T02:18:37.682Z, nor in milliseconds since 1970")

// The years 1 to 9999, in milliseconds since 1970: what a calendar can show.
const firstMilli, lastMilli = -62135596800000, 253402300799999

// date reads a date as JSON.stringify writes it, or as milliseconds since 1970, and returns whole milliseconds; NaN for
// null.
func (r *reader) date() (float64, error) {
	none := math.NaN()
	switch r.PeekKind() {
	case 'n':
		return none, r.SkipValue()
	case '0':
		token, err := r.ReadToken()
		if err != nil {
			return none, err
		}
		ms, err := token.Float()
		if err != nil || !(ms >= firstMilli && ms <= lastMilli) {
			return none, errDate
		}
		return math.Floor(ms), nil
	case '"':
		token, err := r.ReadToken()
		if err != nil {
			return none, err
		}
		at, err := time.Parse(time.RFC3339, token.String())
		if err != nil {
			return none, errDate
		}
		return float64(at.UnixMilli()), nil
	}
	if err := r.SkipValue(); err != nil {
		return none, err
	}
	return none, errDate
}

// stringReader reads a text.
type stringReader struct{ rest string }

// Reset begins another text.
func (s *stringReader) Reset(text string) { s.rest = text }

// Read implements [io.Reader].
func (s *stringReader) Read(into []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	n := copy(into, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
