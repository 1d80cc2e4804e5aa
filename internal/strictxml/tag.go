package strictxml

const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
	xsiNamespace   = "http://www.w3.org/2001/XMLSchema-instance"
)

// qname is the place of a name in the document: the name is b[start:end], its
// prefix b[start:colon]. Without a prefix, colon is start.
type qname struct{ start, colon, end uint32 }

// binding is the declaration of a prefix, or of the default namespace.
type binding struct {
	start, end uint32 // the prefix is b[start:end]; empty for the default namespace
	uri        []byte
	known      bool // uri is the known namespace
}

// name reads a name with or without a prefix.
func (s *Scanner) name() (q qname, ok bool) {
	b, i := s.b, s.pos
	q.start, q.colon = uint32(i), uint32(i)
	for {
		if i == len(b) || class[b[i]]&isNameStart == 0 {
			s.Fail(i, "no name where one must be")
			return q, false
		}
		for i++; i < len(b) && class[b[i]]&isName != 0; i++ {
		}
		if i == len(b) || b[i] != ':' || q.colon != q.start {
			break
		}
		q.colon = uint32(i)
		i++
	}
	q.end = uint32(i)
	s.pos = i
	return q, true
}

func (s *Scanner) prefix(q qname) []byte { return s.b[q.start:q.colon] }

func (s *Scanner) localName(q qname) []byte {
	if q.colon != q.start {
		return s.b[q.colon+1 : q.end : q.end]
	}
	return s.b[q.start:q.end:q.end]
}

func (s *Scanner) startTag() Event {
	if s.Depth == MaxDepth {
		return s.Fail(s.pos, "elements nested too deep")
	}
	s.pos++ // <
	name, ok := s.name()
	if !ok {
		return Fault
	}
	if string(s.b[name.start:name.end]) == "xmlns" {
		return s.Fail(s.Offset, "reserved name") // encoding/xml would give it no namespace
	}
	s.open[s.Depth] = element{name, uint32(s.bound)}
	s.Attributes, s.attrCount = 0, 0
	expand := false
	for {
		spaced := s.space()
		if s.has(">") {
			s.pos++
			break
		}
		if s.has("/>") {
			s.pos += 2
			s.endOwed = true
			break
		}
		if !spaced {
			return s.Fail(s.pos, "malformed tag")
		}
		prefixed, ok := s.attribute()
		if !ok {
			return Fault
		}
		expand = expand || prefixed
	}
	if expand && !s.expandAttributes() {
		return Fault
	}
	if s.Namespace, s.Known, ok = s.lookup(s.prefix(name)); !ok {
		return s.Fail(s.Offset, "prefix is not declared")
	}
	s.Local = s.localName(name)
	s.Depth++
	return StartElement
}

// attribute reads an attribute. If it declares a namespace, that is in scope from now
// on. prefixed says that it is another attribute, with a prefix.
func (s *Scanner) attribute() (prefixed, ok bool) {
	if s.attrCount == MaxAttributes {
		s.Fail(s.pos, "too many attributes")
		return false, false
	}
	at := s.pos
	a, ok := s.name()
	if !ok {
		return false, false
	}
	for _, p := range s.attrs[:s.attrCount] {
		if string(s.b[p.start:p.end]) == string(s.b[a.start:a.end]) {
			s.Fail(at, "attribute occurs twice")
			return false, false
		}
	}
	s.attrs[s.attrCount] = a
	s.attrCount++
	value, ok := s.attributeValue()
	if !ok {
		return false, false
	}
	switch {
	case string(s.prefix(a)) == "xmlns":
		return false, s.declare(a.colon+1, a.end, value)
	case string(s.b[a.start:a.end]) == "xmlns":
		return false, s.declare(a.start, a.start, value)
	}
	s.Attributes++
	return a.colon != a.start, true
}

// Attribute returns the value of an attribute of the element that has just
// started. The name is as in the document, with its prefix. White space in the
// value stays as it is.
func (s *Scanner) Attribute(name string) (value []byte, ok bool) {
	for _, a := range s.attrs[:s.attrCount] {
		if string(s.b[a.start:a.end]) == name {
			after := s.pos
			s.pos = int(a.end)
			value, ok = s.attributeValue()
			s.pos = after
			return value, ok
		}
	}
	return nil, false
}

// attributeValue reads what comes after the name of an attribute: = and a quoted
// value. It resolves the references in the value.
func (s *Scanner) attributeValue() (value []byte, ok bool) {
	s.space()
	if !s.has("=") {
		s.Fail(s.pos, "attribute without value")
		return nil, false
	}
	s.pos++
	s.space()
	if !s.has(`"`) && !s.has("'") {
		s.Fail(s.pos, "value without quotes")
		return nil, false
	}
	quote := s.b[s.pos]
	s.pos++
	for start := s.pos; ; {
		if !s.run(endsValue) {
			return nil, false
		}
		switch s.b[s.pos] {
		case quote:
			value = Join(value, s.b[start:s.pos:s.pos])
			s.pos++
			return value, true
		case '<':
			s.Fail(s.pos, "< in a value")
			return nil, false
		case '&':
			value = Join(value, s.b[start:s.pos:s.pos])
			text, ok := s.reference()
			if !ok {
				return nil, false
			}
			value = Join(value, text)
			start = s.pos
		default:
			s.pos++ // the other quote
		}
	}
}

// Join appends a piece of text to text, which is nil at first. Pieces are Text of
// a Scanner, whose capacity is their length: one alone is not copied.
func Join(text, piece []byte) []byte {
	if len(text) == 0 {
		return piece
	}
	return append(text, piece...)
}

// declare binds the prefix b[start:end] to uri, from the tag that is being read on.
func (s *Scanner) declare(start, end uint32, uri []byte) bool {
	prefix := s.b[start:end]
	at := int(start)
	known := string(uri) == s.namespace
	switch {
	case string(prefix) == "xmlns",
		(string(prefix) == "xml") != (string(uri) == xmlNamespace),
		string(uri) == xmlnsNamespace:
		s.Fail(at, "declaration of a reserved prefix or namespace")
	case len(prefix) > 0 && len(uri) == 0:
		s.Fail(at, "prefix declared without namespace")
	case !known && ContainsSpace(uri):
		s.Fail(at, "white space in a namespace name")
	case s.bound == MaxNamespaces:
		s.Fail(at, "too many namespaces in scope")
	default:
		s.scope[s.bound] = binding{start, end, uri, known}
		s.bound++
		return true
	}
	return false
}

// lookup returns the namespace of a prefix, and whether it is the known one.
func (s *Scanner) lookup(prefix []byte) (uri []byte, known, ok bool) {
	for i := s.bound - 1; i >= 0; i-- {
		if d := &s.scope[i]; string(s.b[d.start:d.end]) == string(prefix) {
			return d.uri, d.known, true
		}
	}
	if string(prefix) == "xml" {
		return []byte(xmlNamespace), false, true
	}
	return nil, false, len(prefix) == 0
}

// expandAttributes checks that the prefixes of the attributes are declared, and that
// no two attributes are the same name under different prefixes. It leaves out of
// s.Attributes those that only say where a schema is.
func (s *Scanner) expandAttributes() bool {
	for i, a := range s.attrs[:s.attrCount] {
		if a.colon == a.start || string(s.prefix(a)) == "xmlns" {
			continue
		}
		uri, _, ok := s.lookup(s.prefix(a))
		if !ok {
			s.Fail(int(a.start), "prefix is not declared")
			return false
		}
		if string(uri) == xsiNamespace {
			switch string(s.localName(a)) {
			case "schemaLocation", "noNamespaceSchemaLocation":
				s.Attributes--
			}
		}
		for _, p := range s.attrs[:i] {
			if p.colon == p.start || string(s.localName(p)) != string(s.localName(a)) {
				continue
			}
			// The prefix xmlns is never declared, so such a p is not the same.
			if other, _, ok := s.lookup(s.prefix(p)); ok && string(other) == string(uri) {
				s.Fail(int(a.start), "attribute occurs twice")
				return false
			}
		}
	}
	return true
}
