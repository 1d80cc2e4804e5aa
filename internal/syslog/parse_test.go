package syslog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"quell/internal/audit"
)

// received is one message, read by the grammar of RFC 5424, section 6.
type received struct {
	priority               int
	host, app, process, id string
	at                     time.Time
	record                 audit.Record
	cut                    bool
	length                 int
}

// grammar is the ABNF of SYSLOG-MSG without structured data, and with a MSG-ANY of ASCII.
var grammar = regexp.MustCompile(`\A<(0|[1-9]\d{0,2})>([1-9]\d{0,2}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}(?:Z|[+-]\d\d:\d\d)) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) - ([ -~]+)\z`)

// parseMessage reads one message strictly.
func parseMessage(text []byte) (m received, err error) {
	f := grammar.FindSubmatch(text)
	if f == nil {
		return m, fmt.Errorf("not a message of RFC 5424: %q", text)
	}
	m.length = len(text)
	m.priority, _ = strconv.Atoi(string(f[1]))
	if m.priority > 191 || string(f[2]) != "1" {
		return m, fmt.Errorf("priority %d, version %s", m.priority, f[2])
	}
	if m.at, err = time.Parse(time.RFC3339Nano, string(f[3])); err != nil {
		return m, err
	}
	m.host, m.app, m.process, m.id = string(f[4]), string(f[5]), string(f[6]), string(f[7])
	var body struct {
		audit.Record
		Cut bool `json:"cut"`
	}
	d := json.NewDecoder(strings.NewReader(string(f[8])))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return m, err
	}
	if _, err := d.Token(); err != io.EOF {
		return m, errors.New("more than one value")
	}
	m.record, m.cut = body.Record, body.Cut
	return m, nil
}

// readFrame reads one message with octet counting (RFC 6587, section 3.4.1).
func readFrame(r *bufio.Reader) (m received, err error) {
	length, err := r.ReadString(' ')
	if err != nil {
		return m, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil || length[0] < '1' || length[0] > '9' || n > maxMessage {
		return m, fmt.Errorf("a frame of length %q", length)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return m, err
	}
	return parseMessage(b)
}
