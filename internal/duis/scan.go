package duis

import "bytes"

// Limits of the scanner. No message of DUIS comes near them.
const (
	maxDepth      = 64 // elements within one another
	maxAttributes = 32 // of one element, namespace declarations included
	maxNamespaces = 32 // declarations in scope
)

// event is what the scanner met.
type event uint8

const (
	evFault event = iota // s.err says what
	evStart              // of the element s.local in s.ns
	evEnd                // of the innermost element
	evText               // s.text, a piece of the character data of the innermost element
	evEOF                // the document is complete and well-formed
)

// A scanner reads an XML document in one pass over a slice. It holds to XML 1.0
// and Namespaces in XML 1.0, and narrows them: UTF-8 only, names of ASCII only,
// no document type declaration, no processing instruction, no white space in a
// namespace name, and the limits above.
//
// It has arrays in place of slices so that it can live on the stack.
type scanner struct {
	b   []byte
	pos int
	err *SyntaxError

	off   int    // where the event begins
	local []byte // the element's name without prefix
	ns    namespace
	text  []byte // its capacity is its length: to append to it copies

	depth   int
	open    [maxDepth]element // the open elements are open[:depth]
	names   int
	scope   [maxNamespaces]binding // the declarations in scope are scope[:names]
	attrs   [maxAttributes]qname   // of the tag being read
	closed  bool                   // the root's end has been read
	endOwed bool                   // the tag last read is both start and end
	extra   int                    // the element's attributes, but for declarations of namespaces and hints where a schema is
	version []byte                 // the root's attribute schemaVersion; nil if it has none
}

type element struct {
	name  qname
	names uint32 // declarations in scope before it
}

func (s *scanner) fail(off int, msg string) event {
	s.err = &SyntaxError{Offset: off, Msg: msg}
	return evFault
}

// has reports whether the document goes on with text.
func (s *scanner) has(text string) bool {
	return len(s.b)-s.pos >= len(text) && string(s.b[s.pos:s.pos+len(text)]) == text
}

func (s *scanner) space() (any bool) {
	start := s.pos
	for s.pos < len(s.b) && class[s.b[s.pos]]&isSpace != 0 {
		s.pos++
	}
	return s.pos > start
}

// begin reads what may precede the root: a byte order mark and the XML declaration.
func (s *scanner) begin() bool {
	if s.has("\uFEFF") {
		s.pos += len("\uFEFF")
	}
	if !s.has("<?xml") {
		return true
	}
	s.off = s.pos
	s.pos += len("<?xml")
	version, ok := s.pseudo("version")
	if !ok || string(version) != "1.0" {
		s.fail(s.off, "not an XML declaration of version 1.0")
		return false
	}
	encoding, ok := s.pseudo("encoding")
	if !ok || encoding != nil && !bytes.EqualFold(encoding, []byte("UTF-8")) {
		s.fail(s.off, "encoding is not UTF-8")
		return false
	}
	standalone, ok := s.pseudo("standalone")
	if !ok || standalone != nil && string(standalone) != "yes" && string(standalone) != "no" {
		s.fail(s.off, "standalone is neither yes nor no")
		return false
	}
	s.space()
	if !s.has("?>") {
		s.fail(s.off, "malformed XML declaration")
		return false
	}
	s.pos += len("?>")
	return true
}

// pseudo reads white space and name="value" of the XML declaration. If
// something else comes next, the value is nil; ok is false if the name comes
// next and is not all that must be there.
func (s *scanner) pseudo(name string) (value []byte, ok bool) {
	start := s.pos
	if !s.space() || !s.has(name) {
		s.pos = start
		return nil, true
	}
	s.pos += len(name)
	s.space()
	if !s.has("=") {
		return nil, false
	}
	s.pos++
	s.space()
	if !s.has(`"`) && !s.has("'") {
		return nil, false
	}
	quote := s.b[s.pos]
	start = s.pos + 1
	n := bytes.IndexByte(s.b[start:], quote)
	if n < 0 {
		return nil, false
	}
	s.pos = start + n + 1
	return s.b[start : start+n], true
}

// next returns the next event. After evFault and evEOF it must not be called.
func (s *scanner) next() event {
	if s.endOwed {
		s.endOwed = false
		return s.end()
	}
	for {
		if s.depth == 0 {
			s.space()
			if s.pos == len(s.b) && s.closed {
				return evEOF
			}
		}
		s.off = s.pos
		switch {
		case s.pos == len(s.b):
			return s.fail(s.pos, "unexpected end")
		case s.b[s.pos] != '<':
			if s.depth == 0 {
				return s.fail(s.pos, "text outside of the root element")
			}
			return s.charData()
		case s.pos+1 == len(s.b):
			return s.fail(s.pos+1, "unexpected end")
		case s.b[s.pos+1] == '/':
			return s.endTag()
		case s.b[s.pos+1] == '?':
			return s.fail(s.pos, "processing instruction")
		case s.b[s.pos+1] != '!':
			if s.closed {
				return s.fail(s.pos, "second root element")
			}
			return s.startTag()
		case s.has("<!--"):
			if !s.comment() {
				return evFault
			}
		case s.depth > 0 && s.has("<![CDATA["):
			return s.cdata()
		default:
			return s.fail(s.pos, "document type declaration, or CDATA section out of place")
		}
	}
}

func (s *scanner) endTag() event {
	if s.depth == 0 {
		return s.fail(s.pos, "end tag without start tag")
	}
	s.pos += len("</")
	q := s.open[s.depth-1].name
	name := s.b[q.start:q.end]
	if len(s.b)-s.pos <= len(name) || string(s.b[s.pos:s.pos+len(name)]) != string(name) {
		return s.fail(s.off, "end tag does not match start tag")
	}
	s.pos += len(name)
	s.space()
	if !s.has(">") {
		return s.fail(s.off, "end tag does not match start tag")
	}
	s.pos++
	return s.end()
}

func (s *scanner) end() event {
	s.depth--
	s.names = int(s.open[s.depth].names)
	s.closed = s.depth == 0
	return evEnd
}

func (s *scanner) comment() bool {
	s.pos += len("<!--")
	for s.run(endsComment) {
		if s.has("-->") {
			s.pos += len("-->")
			return true
		}
		if s.has("--") {
			s.fail(s.pos, "-- in a comment")
			return false
		}
		s.pos++
	}
	return false
}

func (s *scanner) cdata() event {
	s.pos += len("<![CDATA[")
	start := s.pos
	for s.run(endsCDATA) {
		if s.has("]]>") {
			s.text = s.b[start:s.pos:s.pos]
			if bytes.IndexByte(s.text, '\r') >= 0 {
				t := bytes.ReplaceAll(s.text, []byte("\r\n"), []byte("\n"))
				t = bytes.ReplaceAll(t, []byte("\r"), []byte("\n"))
				s.text = t[:len(t):len(t)]
			}
			s.pos += len("]]>")
			return evText
		}
		s.pos++
	}
	return evFault
}

// charData reads a reference, a line end that is not a line feed, or a run of
// character data without either.
func (s *scanner) charData() event {
	start := s.pos
	switch s.b[start] {
	case '&':
		text, ok := s.reference()
		if !ok {
			return evFault
		}
		s.text = text
		return evText
	case '\r':
		s.pos++
		if s.has("\n") {
			s.pos++
		}
		s.text = single('\n')
		return evText
	}
	for s.run(endsText) {
		if s.b[s.pos] != ']' {
			s.text = s.b[start:s.pos:s.pos]
			return evText
		}
		if s.has("]]>") {
			return s.fail(s.pos, "]]> in text")
		}
		s.pos++
	}
	return evFault
}
