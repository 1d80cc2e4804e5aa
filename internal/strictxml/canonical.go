package strictxml

import "bytes"

// What Canonical XML needs of a start tag, beyond what its values need. Each method is about
// the element that has just started, until Next is called again.

// Attr is an attribute that declares no namespace.
type Attr struct {
	Name      []byte // as in the document, with its prefix
	Local     []byte
	Namespace []byte // empty without a prefix
	Value     []byte // references are resolved, and white space is normalised (XML 1.0, 3.3.3)
}

// Declaration binds a prefix, which is empty for the default namespace.
type Declaration struct{ Prefix, URI []byte }

// Name returns the element's name as in the document, with its prefix.
func (s *Scanner) Name() []byte {
	q := s.open[s.Depth-1].name
	return s.b[q.start:q.end:q.end]
}

// Prefix returns the element's prefix, which may be empty.
func (s *Scanner) Prefix() []byte { return s.prefix(s.open[s.Depth-1].name) }

// Resolve returns the namespace of a prefix in the element. It is empty if there is none.
func (s *Scanner) Resolve(prefix []byte) []byte {
	uri, _, _ := s.lookup(prefix)
	return uri
}

// AppendDeclarations appends the namespaces that the element declares, in the order of the
// document.
func (s *Scanner) AppendDeclarations(d []Declaration) []Declaration {
	for _, b := range s.scope[s.open[s.Depth-1].bound:s.bound] {
		d = append(d, Declaration{s.b[b.start:b.end], b.uri})
	}
	return d
}

// AppendAttrs appends the attributes of the element, in the order of the document. Unlike the
// number in Attributes, it has the hints where a schema is.
func (s *Scanner) AppendAttrs(attrs []Attr) []Attr {
	for _, a := range s.attrs[:s.attrCount] {
		prefix := s.prefix(a)
		if string(prefix) == "xmlns" || string(s.b[a.start:a.end]) == "xmlns" {
			continue
		}
		attr := Attr{Name: s.b[a.start:a.end:a.end], Local: s.localName(a), Value: s.normalizedValue(a)}
		if len(prefix) > 0 {
			attr.Namespace = s.Resolve(prefix)
		}
		attrs = append(attrs, attr)
	}
	return attrs
}

// normalizedValue reads the value of an attribute that has been read before, so it is
// well-formed. White space becomes a blank, but stays if it is a reference.
func (s *Scanner) normalizedValue(a qname) (value []byte) {
	after := s.pos
	defer func() { s.pos = after }()
	s.pos = int(a.end) + bytes.IndexAny(s.b[a.end:], `"'`)
	start := s.pos + 1
	end := start + bytes.IndexByte(s.b[start:], s.b[s.pos])
	raw := s.b[start:end:end]
	if !bytes.ContainsAny(raw, "&\t\r\n") {
		return raw
	}
	value = make([]byte, 0, len(raw))
	for s.pos = start; s.pos < end; {
		switch c := s.b[s.pos]; c {
		case '&':
			text, _ := s.reference()
			value = append(value, text...)
		case '\t', '\n', '\r':
			if s.has("\r\n") {
				s.pos++
			}
			s.pos++
			value = append(value, ' ')
		default:
			value = append(value, c)
			s.pos++
		}
	}
	return value
}
