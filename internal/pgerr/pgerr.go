// Package pgerr holds the errors that pgshunt answers by itself, in PostgreSQL's
// own terms: severity, SQLSTATE, message, detail and hint. An error without a
// SQLSTATE never reaches a client.
//
// Codes in use are listed in docs/errors.md; their meaning is that of appendix A
// of PostgreSQL's documentation.
package pgerr

import (
	"errors"
	"fmt"
)

// SQLSTATE codes used by pgshunt.
const (
	ProtocolViolation      = "08P01"
	CannotConnect          = "08001"
	ConnectionFailure      = "08006"
	InvalidPassword        = "28P01"
	InvalidAuth            = "28000"
	UndefinedDatabase      = "3D000"
	InsufficientPrivilege  = "42501"
	TooManyConnections     = "53300"
	CannotConnectNow       = "57P03"
	AdminShutdown          = "57P01"
	QueryCanceled          = "57014"
	ProgramLimit           = "54000"
	FeatureNotSupported    = "0A000"
	InFailedTransaction    = "25P02"
	DuplicateStatement     = "42P05"
	DuplicateCursor        = "42P03"
	UndefinedPortal        = "34000"
	ReadOnly               = "25006"
	NotInPrerequisiteState = "55000"
	SyntaxError            = "42601"
	InvalidParameter       = "22023"
	Internal               = "XX000"
)

// Error is one error as a client sees it.
type Error struct {
	Severity string // ERROR keeps the session, FATAL ends it
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Routine  string // the pgshunt function that raised it, so that operators can tell ours from PostgreSQL's
	Err      error  // the cause, for logs only; never shown to a client
}

// New makes an error that keeps the session.
func New(code, format string, args ...any) *Error {
	return &Error{Severity: "ERROR", Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fatal makes an error that ends the session.
func Fatal(code, format string, args ...any) *Error {
	e := New(code, format, args...)
	e.Severity = "FATAL"
	return e
}

// WithDetail, WithHint, In and Because return e with the field set, for chaining
// at the place where e is made. They must not be used on a shared error.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHint sets what the user should do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// In names the pgshunt function that raised e.
func (e *Error) In(routine string) *Error {
	e.Routine = routine
	return e
}

// Because records the cause for the log.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s (SQLSTATE %s): %v", e.Severity, e.Message, e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Severity, e.Message, e.Code)
}

func (e *Error) Unwrap() error { return e.Err }

// From returns the *Error in err's chain, or an internal error with a fixed text:
// what went wrong inside belongs in the log and not on the client's screen.
func From(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return Fatal(Internal, "internal error in pgshunt").WithHint("See the log of pgshunt.").Because(err)
}
