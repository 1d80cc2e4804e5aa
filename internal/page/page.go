// Package page is what the pages of the console in a browser are made of: what a page's function
// gets from a form and returns. Package web shows that, in its frame.
package page

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"quell/internal/guard"
	"quell/internal/role"
)

// Handler answers a request with a View or with SeeOther. An error becomes a page.
type Handler = func(*http.Request) (any, error)

// View is what a page shows.
type View struct {
	Template string // its name, without ".html"
	Title    string // also its heading
	Data     any
	Status   int // 200 if it is 0
}

// SeeOther leads to another address of the console.
type SeeOther string

// Confirmation is what a page asks before a change.
type Confirmation struct {
	Title   string   // "Release entry 12"
	Will    []string // what will happen, in sentences
	Button  string   // "Release the alert"
	Back    string   // where to go without a change
	To      string   // set by the frame, as are Fields
	Fields  []Field
	Serious bool
}

// Field is a field of a form.
type Field struct{ Name, Value string }

type bad struct{ error }

// Bad marks an error as a fault of what somebody entered: 400.
func Bad(err error) error { return bad{err} }

// IsBad reports whether an error is marked by Bad.
func IsBad(err error) bool {
	var b bad
	return errors.As(err, &b)
}

// Text returns a field of a form, without blanks around it. The error, what, says that it is
// missing.
func Text(r *http.Request, name, what string) (string, error) {
	text := strings.TrimSpace(r.PostForm.Get(name))
	if text == "" || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return "", Bad(errors.New(what))
	}
	return text, nil
}

// Why returns the reason for a change.
func Why(r *http.Request) (string, error) { return Text(r, "why", "give a reason") }

// Kept says in a confirmation which reason is kept.
func Kept(reason string) string { return fmt.Sprintf("Your reason, which is kept: “%s”", reason) }

// Before returns the parameter before, a number above 0; 0 if it is missing.
func Before(r *http.Request) (int64, error) {
	text := r.URL.Query().Get("before")
	n, err := strconv.ParseInt(text, 10, 64)
	if text != "" && (err != nil || n < 1) {
		return 0, Bad(fmt.Errorf("before=%q is not a number", text))
	}
	return n, nil
}

// Rights are what somebody may do, as far as pages ask.
type Rights struct{ Analyst, Operator bool }

// RightsOf returns what who sends a request may do.
func RightsOf(r *http.Request) Rights {
	return Rights{!guard.HideMPxN(r), guard.Caller(r).Role >= role.Operator}
}
