// Package strictxml reads XML documents strictly, within fixed limits, and
// almost without allocating. It does no I/O.
//
// It follows XML 1.0 and Namespaces in XML 1.0, and allows less than they do:
// UTF-8 only, ASCII names only, no document type declaration, no processing
// instruction, no white space in a namespace name, and the limits below. It is
// far stricter than encoding/xml, which accepts text after the root, several
// roots and repeated attributes.
package strictxml

import (
	"bytes"
	"fmt"
)

// The limits of a document.
const (
	MaxDepth      = 64 // elements within one another
	MaxAttributes = 32 // of one element, including namespace declarations
	MaxNamespaces = 32 // declarations in scope
)

// Event is what Next has read.
type Event uint8

const (
	Fault        Event = iota // Err says what is wrong
	StartElement              // sets Local, Namespace, Known and Attributes
	EndElement                // the end of the innermost open element
	CharData                  // sets Text, one piece of the text of the innermost open element
	EOF                       // the document is complete and well-formed
)

// SyntaxError says what is wrong with a document.
type SyntaxError struct {
	Offset int // in bytes from the start of the document
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("xml: %s at offset %d", e.Msg, e.Offset) }

// A Scanner reads one document in one pass. Call Init once on the zero value,
// then Next until it returns EOF or Fault. Callers only read its fields.
//
// It holds arrays rather than slices, so that it can live on the stack.
type Scanner struct {
	b   []byte
	pos int

	Err        *SyntaxError // why Next returned Fault
	Offset     int          // where the event begins, in bytes from the start of the document
	Depth      int          // open elements; EndElement no longer counts the one that ended
	Local      []byte       // the element's name without its prefix
	Namespace  []byte       // the element's namespace; empty if it has none
	Known      bool         // Namespace is the one that Init was given
	Attributes int          // of the element, without namespace declarations and without hints where a schema is (xsi:schemaLocation)
	Text       []byte       // see Join; it may be a part of the document

	namespace string            // the known one
	open      [MaxDepth]element // the open elements are open[:Depth]
	bound     int
	scope     [MaxNamespaces]binding // the declarations in scope are scope[:bound]
	attrs     [MaxAttributes]qname   // of the last start tag: attrs[:attrCount]
	attrCount int
	closed    bool // the root's end has been read
	endOwed   bool // the last tag was both start and end
}

type element struct {
	name  qname
	bound uint32 // declarations in scope before it
}

// Init prepares s, which must be zero, to read the document b. It sets Known on
// elements of the given namespace.
func (s *Scanner) Init(b []byte, namespace string) { s.b, s.namespace = b, namespace }

// Started reports whether the start tag of the root has been read.
func (s *Scanner) Started() bool { return s.Depth > 0 || s.closed }

// Fail sets Err. A caller that finds a fault of its own uses it to stop.
func (s *Scanner) Fail(offset int, msg string) Event {
	s.Err = &SyntaxError{Offset: offset, Msg: msg}
	return Fault
}

// has reports whether text comes next.
func (s *Scanner) has(text string) bool {
	return len(s.b)-s.pos >= len(text) && string(s.b[s.pos:s.pos+len(text)]) == text
}

// space skips white space, and reports whether there was any.
func (s *Scanner) space() (any bool) {
	start := s.pos
	for s.pos < len(s.b) && class[s.b[s.pos]]&isSpace != 0 {
		s.pos++
	}
	return s.pos > start
}

// prolog reads what may come before the root: a byte order mark and the XML
// declaration.
func (s *Scanner) prolog() bool {
	if s.has("\uFEFF") {
		s.pos += len("\uFEFF")
	}
	if !s.has("<?xml") {
		return true
	}
	s.Offset = s.pos
	s.pos += len("<?xml")
	version, ok := s.pseudoAttribute("version")
	if !ok || string(version) != "1.0" {
		s.Fail(s.Offset, "not an XML declaration of version 1.0")
		return false
	}
	encoding, ok := s.pseudoAttribute("encoding")
	if !ok || encoding != nil && !bytes.EqualFold(encoding, []byte("UTF-8")) {
		s.Fail(s.Offset, "encoding is not UTF-8")
		return false
	}
	standalone, ok := s.pseudoAttribute("standalone")
	if !ok || standalone != nil && string(standalone) != "yes" && string(standalone) != "no" {
		s.Fail(s.Offset, "standalone is neither yes nor no")
		return false
	}
	s.space()
	if !s.has("?>") {
		s.Fail(s.Offset, "malformed XML declaration")
		return false
	}
	s.pos += len("?>")
	return true
}

// pseudoAttribute reads white space and name="value" in the XML declaration. If
// something else comes next, value is nil and ok is true. If the name comes next
// without its value, ok is false.
func (s *Scanner) pseudoAttribute(name string) (value []byte, ok bool) {
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

// Next reads up to the next event. Do not call it again after Fault or EOF.
func (s *Scanner) Next() Event {
	if s.endOwed {
		s.endOwed = false
		return s.end()
	}
	for {
		if s.Depth == 0 {
			if s.pos == 0 && !s.prolog() {
				return Fault
			}
			s.space()
			if s.pos == len(s.b) && s.closed {
				return EOF
			}
		}
		s.Offset = s.pos
		switch {
		case s.pos == len(s.b):
			return s.Fail(s.pos, "unexpected end")
		case s.b[s.pos] != '<':
			if s.Depth == 0 {
				return s.Fail(s.pos, "text outside the root element")
			}
			return s.charData()
		case s.pos+1 == len(s.b):
			return s.Fail(s.pos+1, "unexpected end")
		case s.b[s.pos+1] == '/':
			return s.endTag()
		case s.b[s.pos+1] == '?':
			return s.Fail(s.pos, "processing instruction")
		case s.b[s.pos+1] != '!':
			if s.closed {
				return s.Fail(s.pos, "second root element")
			}
			return s.startTag()
		case s.has("<!--"):
			if !s.comment() {
				return Fault
			}
		case s.Depth > 0 && s.has("<![CDATA["):
			return s.cdata()
		default:
			return s.Fail(s.pos, "document type declaration, or CDATA section in the wrong place")
		}
	}
}

func (s *Scanner) endTag() Event {
	if s.Depth == 0 {
		return s.Fail(s.pos, "end tag without start tag")
	}
	s.pos += len("</")
	q := s.open[s.Depth-1].name
	name := s.b[q.start:q.end]
	if len(s.b)-s.pos <= len(name) || string(s.b[s.pos:s.pos+len(name)]) != string(name) {
		return s.Fail(s.Offset, "end tag does not match start tag")
	}
	s.pos += len(name)
	s.space()
	if !s.has(">") {
		return s.Fail(s.Offset, "end tag does not match start tag")
	}
	s.pos++
	return s.end()
}

func (s *Scanner) end() Event {
	s.Depth--
	s.bound = int(s.open[s.Depth].bound)
	s.closed = s.Depth == 0
	return EndElement
}

func (s *Scanner) comment() bool {
	s.pos += len("<!--")
	for s.run(endsComment) {
		if s.has("-->") {
			s.pos += len("-->")
			return true
		}
		if s.has("--") {
			s.Fail(s.pos, "-- in a comment")
			return false
		}
		s.pos++
	}
	return false
}

func (s *Scanner) cdata() Event {
	s.pos += len("<![CDATA[")
	start := s.pos
	for s.run(endsCDATA) {
		if s.has("]]>") {
			s.Text = s.b[start:s.pos:s.pos]
			if bytes.IndexByte(s.Text, '\r') >= 0 {
				t := bytes.ReplaceAll(s.Text, []byte("\r\n"), []byte("\n"))
				t = bytes.ReplaceAll(t, []byte("\r"), []byte("\n"))
				s.Text = t[:len(t):len(t)]
			}
			s.pos += len("]]>")
			return CharData
		}
		s.pos++
	}
	return Fault
}

// charData reads one piece of text: a reference, a line end that is not a line
// feed, or a run of characters without either.
func (s *Scanner) charData() Event {
	start := s.pos
	switch s.b[start] {
	case '&':
		text, ok := s.reference()
		if !ok {
			return Fault
		}
		s.Text = text
		return CharData
	case '\r':
		s.pos++
		if s.has("\n") {
			s.pos++
		}
		s.Text = single('\n')
		return CharData
	}
	for s.run(endsText) {
		if s.b[s.pos] != ']' {
			s.Text = s.b[start:s.pos:s.pos]
			return CharData
		}
		if s.has("]]>") {
			return s.Fail(s.pos, "]]> in text")
		}
		s.pos++
	}
	return Fault
}
