package fastpath

import "bytes"

// The grammar of the common form. It is a small part of RFC 9112. net/http reads everything
// that it admits in the same way (FuzzRequest and FuzzAnswer hold that), and is given
// everything else.
const (
	maxHead  = 8 << 10  // bytes of a head
	maxBody  = 64 << 10 // bytes of a message: no DUIS message has more
	maxReply = 16 << 10 // bytes of the body of an answer
	maxLines = 64       // of a head
	maxDrops = 4        // lines of a head that are not passed on
)

// state says how far a head could be read.
type state uint8

const (
	partial  state = iota // so far it is the start of a common head
	complete              // it is a common head
	unusual               // it is not, whatever comes
)

// span is a part of a head, as offsets.
type span struct{ from, to int }

// head is what the head of a request or of an answer says.
type head struct {
	size   int  // of the head, with the empty line at its end
	body   int  // its Content-Length; -1 if it has none
	lines  int  // where the header lines begin
	target span // of a request
	status int  // of an answer
	close  bool // of an answer: the connection ends with it

	drops  [maxDrops]span // lines that are not passed on, in order
	nDrops int

	isAnswer, hasHost, hasType, hasConnection bool
}

// readRequest reads the head of a request: an HTTP/1.1 POST to a path, of up to maxBody bytes
// that may be DUIS, without anything that changes how it is read or answered.
func (h *head) readRequest(b []byte) state {
	*h = head{body: -1}
	line, s := firstLine(b, "POST /")
	if s != complete {
		return s
	}
	const version = " HTTP/1.1"
	h.target = span{len("POST "), len(line) - len(version)}
	if h.target.to <= h.target.from || string(line[h.target.to:]) != version || !isTarget(line[h.target.from:h.target.to]) {
		return unusual
	}
	h.lines = len(line) + 2
	if s := h.readLines(b); s != complete {
		return s
	}
	if !h.hasHost || h.body < 1 {
		return unusual
	}
	return complete
}

// readAnswer reads the head of an answer: one with a body of known length, up to maxReply
// bytes, or with status 204.
func (h *head) readAnswer(b []byte) state {
	*h = head{body: -1, isAnswer: true}
	const version = "HTTP/1.1 "
	line, s := firstLine(b, version)
	if s != complete {
		return s
	}
	status := line[len(version):]
	if len(status) < 4 || status[3] != ' ' || !isValue(status) {
		return unusual
	}
	var ok bool
	if h.status, ok = number(status[:3]); !ok || h.status < 200 || h.status > 599 || h.status == 205 || h.status == 304 {
		return unusual
	}
	h.lines = len(line) + 2
	if s := h.readLines(b); s != complete {
		return s
	}
	if (h.body < 0) != (h.status == 204) {
		return unusual
	}
	h.body = max(h.body, 0)
	return complete
}

// firstLine returns the first line of a head, which must begin with a prefix.
func firstLine(b []byte, prefix string) ([]byte, state) {
	if n := min(len(b), len(prefix)); string(b[:n]) != prefix[:n] {
		return nil, unusual
	}
	end, s := lineEnd(b, 0)
	return b[:end], s
}

// lineEnd returns where a line ends that begins at an offset: in front of its CR LF.
func lineEnd(b []byte, from int) (int, state) {
	n := bytes.IndexByte(b[from:], '\n')
	switch {
	case n < 0 && len(b) <= maxHead:
		return 0, partial
	case n < 1 || from+n > maxHead || b[from+n-1] != '\r':
		return 0, unusual
	}
	return from + n - 1, complete
}

// readLines reads the header lines, and the empty one behind them.
func (h *head) readLines(b []byte) state {
	at := h.lines
	for range maxLines {
		end, s := lineEnd(b, at)
		if s != complete {
			return s
		}
		if end == at {
			h.size = at + 2
			return complete
		}
		line := b[at:end]
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !isName(line[:colon]) || !isValue(line[colon+1:]) || !h.readLine(line[:colon], trim(line[colon+1:]), span{at, end + 2}) {
			return unusual
		}
		at = end + 2
	}
	return unusual
}

// readLine reads one header line. It returns false if the line is not in the common form.
func (h *head) readLine(name, value []byte, line span) bool {
	if len(name) > len("proxy-") && is(name[:len("proxy-")], "proxy-") {
		return false // Proxy-Authorization and the like are for one connection
	}
	switch len(name) {
	case len("TE"):
		return !is(name, "te")
	case len("Host"):
		if is(name, "host") && !h.isAnswer {
			ok := !h.hasHost && isHost(value)
			h.hasHost = true
			return ok
		}
	case len("Expect"):
		return !is(name, "expect")
	case len("Trailer"): // and Upgrade
		return !is(name, "trailer") && !is(name, "upgrade")
	case len("Connection"): // and Keep-Alive
		if is(name, "keep-alive") {
			return h.drop(line)
		}
		if is(name, "connection") {
			h.close = h.isAnswer && is(value, "close")
			ok := !h.hasConnection && (h.close || is(value, "keep-alive")) && h.drop(line)
			h.hasConnection = true
			return ok
		}
	case len("Content-Type"): // and Quell-Reason
		if is(name, "content-type") && !h.isAnswer {
			ok := !h.hasType && isXML(value)
			h.hasType = true
			return ok
		}
		if is(name, "quell-reason") && h.isAnswer {
			return false // northbound, only quell itself may say this
		}
	case len("Content-Length"): // and Quell-Decision
		if is(name, "content-length") {
			n, ok := number(value)
			most := maxBody
			if h.isAnswer {
				most = maxReply
			}
			ok = ok && h.body < 0 && n <= most && h.status != 204
			h.body = n
			return ok
		}
		if is(name, "quell-decision") && h.isAnswer {
			return false
		}
	case len("Content-Encoding"):
		return h.isAnswer || !is(name, "content-encoding")
	case len("Transfer-Encoding"):
		return !is(name, "transfer-encoding")
	}
	return true
}

// drop leaves a line out of what is passed on.
func (h *head) drop(line span) bool {
	if h.nDrops == maxDrops {
		return false
	}
	h.drops[h.nDrops] = line
	h.nDrops++
	return true
}

// appendLines appends the header lines that are passed on, as they came. b begins with the
// head.
func (h *head) appendLines(to, b []byte) []byte {
	at := h.lines
	for _, d := range h.drops[:h.nDrops] {
		to = append(to, b[at:d.from]...)
		at = d.to
	}
	return append(to, b[at:h.size-2]...)
}

// is reports whether a text is another one, which is in lower case, whatever its own case is.
func is(text []byte, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// number reads up to five digits, without a zero in front.
func number(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// trim removes white space around a value.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isXML reports whether a media type is one of those in which DUIS usually comes.
func isXML(value []byte) bool {
	media, parameter, _ := bytes.Cut(value, []byte(";"))
	if !is(media, "application/xml") && !is(media, "text/xml") {
		return false
	}
	parameter = trim(parameter)
	return len(parameter) == 0 || is(parameter, "charset=utf-8") || is(parameter, `charset="utf-8"`)
}

// Kinds of bytes.
const (
	inName   = 1 << iota // of a header line
	inValue              // of a header line
	inTarget             // of a request
	inHost
)

// kinds says which kinds each byte is of.
var kinds = func() (k [256]uint8) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	for kind, list := range map[uint8]string{inName: letters, inHost: letters + ".:[]", inTarget: letters + "._~/?&=+,;:@!$'()*%"} {
		for _, c := range []byte(list) {
			k[c] |= kind
		}
	}
	for c := byte(' '); c <= '~'; c++ {
		k[c] |= inValue
	}
	k['\t'] |= inValue
	return k
}()

func areAll(b []byte, kind uint8) bool {
	for _, c := range b {
		if kinds[c]&kind == 0 {
			return false
		}
	}
	return true
}

func isName(b []byte) bool  { return areAll(b, inName) }
func isValue(b []byte) bool { return areAll(b, inValue) }
func isHost(b []byte) bool  { return len(b) > 0 && areAll(b, inHost) }

// isTarget reports whether a target, which begins with /, is a path, perhaps with a query,
// that can go on as it is: not with //, which could be a host, and with two hexadecimal digits
// behind each %.
func isTarget(b []byte) bool {
	if len(b) > 1 && b[1] == '/' || !areAll(b, inTarget) {
		return false
	}
	for {
		at := bytes.IndexByte(b, '%')
		if at < 0 {
			return true
		}
		if len(b) < at+3 || !isHex(b[at+1]) || !isHex(b[at+2]) {
			return false
		}
		b = b[at+3:]
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
