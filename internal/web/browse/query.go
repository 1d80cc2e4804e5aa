package browse

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/page"
)

// query reads what a form asks for in an address. What is wrong is said at the field.
type query struct {
	values url.Values
	faults map[string]string // sentences, by field
}

func queryOf(r *http.Request) *query { return &query{r.URL.Query(), map[string]string{}} }

// status is the status of the page that shows the form.
func (q *query) status() int {
	if len(q.faults) > 0 {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

func (q *query) text(name string) string {
	return strings.TrimSpace(strings.ToValidUTF8(q.values.Get(name), "�"))
}

// device reads an EUI-64, as people type it; 0 if the field is empty.
func (q *query) device(name string) outage.DeviceID {
	text := q.text(name)
	id, err := outage.ParseAnyDeviceID(text)
	if text != "" && (err != nil || id == 0) { // 0 would be no condition
		q.faults[name] = "This is not an EUI-64: it has 16 digits from 0 to 9 and A to F, such as 88-73-84-57-00-2F-96-1E."
	}
	return id
}

var timeLayouts = []string{time.RFC3339, "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"}

// time reads an instant; zero if the field is empty.
func (q *query) time(name string) time.Time {
	text := q.text(name)
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, strings.TrimSuffix(text, " UTC")); err == nil {
			return t.UTC()
		}
	}
	if text != "" {
		q.faults[name] = "This is not a time such as 2026-03-01 or 2026-03-01 14:30."
	}
	return time.Time{}
}

// times reads the two ends of a time, of which the second is after the first.
func (q *query) times() (from, to time.Time) {
	from, to = q.time("from"), q.time("to")
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		q.faults["to"] = "This must be after the first time."
	}
	return from, to
}

// choice reads one of some words; "" if the field is empty.
func (q *query) choice(name string, words ...string) string {
	text := q.text(name)
	if text != "" && !slices.Contains(words, text) {
		q.faults[name] = "This is none of: " + strings.Join(words, ", ") + "."
		return ""
	}
	return text
}

// number reads a number that the pages themselves put into addresses; 0 if there is none.
func (q *query) number(name string) (n int64, err error) {
	text := q.text(name)
	if text == "" {
		return 0, nil
	}
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 1 || fmt.Sprint(n) != text {
		return 0, page.Bad(fmt.Errorf("%s=%q is not a number above 0", name, text))
	}
	return n, nil
}

// Field is a field of a form that is sent by GET, as templates/parts.html shows it.
type Field struct {
	Name, Label, Hint, Value, Fault string
	Words                           []string // of a choice
	Must                            bool     // one of them is chosen: the first, unless somebody chose
}

// Field returns a field with what was entered.
func (q *query) Field(name, label, hint string) Field {
	return Field{Name: name, Label: label, Hint: hint, Value: q.text(name), Fault: q.faults[name]}
}

// Choice returns a field in which one chooses a word, or any.
func (q *query) Choice(name, label string, words ...string) Field {
	return Field{Name: name, Label: label, Value: q.text(name), Fault: q.faults[name], Words: words}
}

// Must is Choice without any.
func (q *query) Must(name, label string, words ...string) Field {
	f := q.Choice(name, label, words...)
	f.Must = true
	return f
}

// address is a path with parameters; those that are empty are left out.
func address(path string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// instantText writes an instant for an address; "" if there is none.
func instantText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// deviceText writes an id for an address; "" if there is none.
func deviceText(id outage.DeviceID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

// numberText writes a number for an address; "" if it is 0.
func numberText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
