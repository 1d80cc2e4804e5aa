package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/windows"
)

// FuzzQuery: the values of a query mean what they say.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "limit=5&at=2026-03-01T10:00:00Z", "limit=5&limit=6", "Limit=5", "limit=%35", "a;limit=5", "limit=+5", "limit=0x5", "at=2026-03-01T10:00:00%2b01:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := url.ParseQuery(query); err != nil {
			return // the guard refuses it
		}
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		values := r.URL.Query()
		n, err := number(r, "limit", 7, 1, 100)
		if text := values.Get("limit"); err == nil && text != "" && (n < 1 || n > 100 || strconv.FormatInt(n, 10) != strings.TrimLeft(strings.TrimPrefix(text, "+"), "0")) {
			t.Fatalf("limit=%q is read as %d", text, n)
		} else if text == "" && (err != nil || n != 7) {
			t.Fatalf("without a limit: %d, %v", n, err)
		} else if bad := (badRequest{}); err != nil && !errors.As(err, &bad) {
			t.Fatalf("limit=%q: %v, which is no fault of the request", text, err)
		}
		at, err := instant(r, "at", time.Unix(7, 0))
		if text := values.Get("at"); err == nil && text != "" {
			want, _ := time.Parse(time.RFC3339, text)
			if !at.Equal(want) || at.Location() != time.UTC {
				t.Fatalf("at=%q is read as %v", text, at)
			}
		}
	})
}

// FuzzReadJSON: a body that is accepted has only fields that are known, and written again it
// means the same.
func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{`{"switch":"on","who":"a","why":"b"}`, `{"switch":"on","Switch":"off"}`, `{"target":"x","all":true,"who":"a"}`, `null`, `{"who":"\ud800"}`, `[]`, `{"a":1}`, "{}{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(to, again any, known ...string) {
			r := &http.Request{Body: http.NoBody}
			r.Body = bodyOf(body)
			err := readJSON(r, to, "a test")
			if err != nil {
				if bad := (badRequest{}); !errors.As(err, &bad) {
					t.Fatalf("%q: %v, which is no fault of the request", body, err)
				}
				return
			}
			text, err := json.Marshal(to)
			if err != nil {
				t.Fatal(err)
			}
			r.Body = bodyOf(text)
			if err := readJSON(r, again, "a test"); err != nil {
				t.Fatalf("%q is written %s, which is refused: %v", body, text, err)
			}
			if second, _ := json.Marshal(again); string(second) != string(text) {
				t.Fatalf("%q is written %s, then %s", body, text, second)
			}
			var fields map[string]json.RawMessage
			if json.NewDecoder(strings.NewReader(string(body))).Decode(&fields) != nil {
				return
			}
			for name := range fields {
				found := false
				for _, k := range known {
					found = found || strings.EqualFold(k, name)
				}
				if !found {
					t.Fatalf("%q is accepted, with %q", body, name)
				}
			}
		}
		check(new(SwitchChange), new(SwitchChange), "switch", "who", "why")
		check(new(CloseRequest), new(CloseRequest), "target", "supplier", "all", "who", "why")
	})
}

// FuzzSelection: a selection names one thing, and that is what it selects.
func FuzzSelection(f *testing.F) {
	f.Add("00-DB-12-34-56-78-90-A0", "", false)
	f.Add("00DB1234567890A0:00-DB-12-34-56-78-90-A0:7", "", false)
	f.Add("", "90-B3-D5-1F-30-01-00-00", false)
	f.Add("00-00-00-00-00-00-00-00", "", false)
	f.Add("", "", true)
	f.Fuzz(func(t *testing.T, target, supplier string, all bool) {
		which, err := Selection{Target: target, Supplier: supplier, All: all}.Parse()
		if err != nil {
			return
		}
		if given := (target != "") != (supplier != ""); given == all || target != "" && supplier != "" {
			t.Fatalf("%q, %q and %v together are accepted", target, supplier, all)
		}
		if which == (windows.Which{}) || which.All != all || (which.Supplier != 0) != (supplier != "") || (which.String() == "") {
			t.Fatalf("%q, %q and %v select %+v", target, supplier, all, which)
		}
	})
}

func bodyOf(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }
