package duis

const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
	xsiNamespace   = "http://www.w3.org/2001/XMLSchema-instance"

	signatureNamespace = "http://www.w3.org/2000/09/xmldsig#"
)

// qname is where a name stands in the document: b[start:end], its prefix
// b[start:colon]. A name without a prefix has its colon at start.
type qname struct{ start, colon, end uint32 }

// binding is the declaration of a prefix, or of the default namespace.
type binding struct {
	start, end uint32 // the prefix is b[start:end]; empty for the default namespace
	space      namespace
}

type namespace struct {
	uri  []byte
	duis bool // it is Namespace
}

// name reads a name with or without a prefix.
func (s *scanner) name() (q qname, ok bool) {
	b, i := s.b, s.pos
	q.start, q.colon = uint32(i), uint32(i)
	for {
		if i == len(b) || class[b[i]]&isNameStart == 0 {
			s.fail(i, "no name where one must be")
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

func (s *scanner) prefix(q qname) []byte { return s.b[q.start:q.colon] }

func (s *scanner) localName(q qname) []byte {
	if q.colon != q.start {
		return s.b[q.colon+1 : q.end : q.end]
	}
	return s.b[q.start:q.end:q.end]
}

func (s *scanner) startTag() event {
	if s.depth == maxDepth {
		return s.fail(s.pos, "elements nested too deep")
	}
	s.pos++ // <
	name, ok := s.name()
	if !ok {
		return evFault
	}
	if string(s.b[name.start:name.end]) == "xmlns" {
		return s.fail(s.off, "reserved name") // encoding/xml would give it no namespace
	}
	s.open[s.depth] = element{name, uint32(s.names)}
	n, prefixed := 0, false
	s.extra = 0
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
			return s.fail(s.pos, "malformed tag")
		}
		if n == maxAttributes {
			return s.fail(s.pos, "too many attributes")
		}
		if !s.attribute(n) {
			return evFault
		}
		a := s.attrs[n]
		prefixed = prefixed || a.colon != a.start && string(s.prefix(a)) != "xmlns"
		n++
	}
	if prefixed && !s.expandAttributes(n) {
		return evFault
	}
	s.ns, ok = s.lookup(s.prefix(name))
	if !ok {
		return s.fail(s.off, "prefix is not declared")
	}
	s.local = s.localName(name)
	s.depth++
	return evStart
}

// attribute reads the n-th attribute of a tag, and takes note of it if it
// declares a namespace.
func (s *scanner) attribute(n int) bool {
	at := s.pos
	a, ok := s.name()
	if !ok {
		return false
	}
	for _, p := range s.attrs[:n] {
		if string(s.b[p.start:p.end]) == string(s.b[a.start:a.end]) {
			s.fail(at, "attribute occurs twice")
			return false
		}
	}
	s.attrs[n] = a
	s.space()
	if !s.has("=") {
		s.fail(s.pos, "attribute without value")
		return false
	}
	s.pos++
	s.space()
	value, ok := s.attributeValue()
	if !ok {
		return false
	}
	switch {
	case string(s.prefix(a)) == "xmlns":
		return s.declare(a.colon+1, a.end, value)
	case string(s.b[a.start:a.end]) == "xmlns":
		return s.declare(a.start, a.start, value)
	case s.depth == 0 && string(s.b[a.start:a.end]) == "schemaVersion":
		s.version = value
	}
	s.extra++
	return true
}

// attributeValue reads a quoted value and resolves its references. White space
// in it stays as it is.
func (s *scanner) attributeValue() (value []byte, ok bool) {
	if !s.has(`"`) && !s.has("'") {
		s.fail(s.pos, "value without quotes")
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
			value = join(value, s.b[start:s.pos:s.pos])
			s.pos++
			return value, true
		case '<':
			s.fail(s.pos, "< in a value")
			return nil, false
		case '&':
			value = join(value, s.b[start:s.pos:s.pos])
			text, ok := s.reference()
			if !ok {
				return nil, false
			}
			value = join(value, text)
			start = s.pos
		default:
			s.pos++ // the other quote
		}
	}
}

// join appends more to text, which is nil at first. It copies only once there
// are two pieces, and relies on the capacity of each being its length.
func join(text, more []byte) []byte {
	if len(text) == 0 {
		return more
	}
	return append(text, more...)
}

// declare binds the prefix b[start:end] to uri in the scope of the tag being read.
func (s *scanner) declare(start, end uint32, uri []byte) bool {
	prefix := s.b[start:end]
	at := int(start)
	duis := string(uri) == Namespace
	switch {
	case string(prefix) == "xmlns",
		(string(prefix) == "xml") != (string(uri) == xmlNamespace),
		string(uri) == xmlnsNamespace:
		s.fail(at, "declaration of a reserved prefix or namespace")
	case len(prefix) > 0 && len(uri) == 0:
		s.fail(at, "prefix declared without namespace")
	case !duis && containsSpace(uri):
		s.fail(at, "white space in a namespace name")
	case s.names == maxNamespaces:
		s.fail(at, "too many namespaces in scope")
	default:
		s.scope[s.names] = binding{start, end, namespace{uri, duis}}
		s.names++
		return true
	}
	return false
}

// lookup returns the namespace that a prefix stands for.
func (s *scanner) lookup(prefix []byte) (n namespace, ok bool) {
	for i := s.names - 1; i >= 0; i-- {
		if d := &s.scope[i]; string(s.b[d.start:d.end]) == string(prefix) {
			return d.space, true
		}
	}
	if string(prefix) == "xml" {
		return namespace{uri: []byte(xmlNamespace)}, true
	}
	return namespace{}, len(prefix) == 0
}

// expandAttributes checks that the prefixes of the n attributes are declared,
// and that no two of them are the same name by different prefixes. It takes
// from s.extra those that only say where a schema is.
func (s *scanner) expandAttributes(n int) bool {
	for i, a := range s.attrs[:n] {
		if a.colon == a.start || string(s.prefix(a)) == "xmlns" {
			continue
		}
		space, ok := s.lookup(s.prefix(a))
		if !ok {
			s.fail(int(a.start), "prefix is not declared")
			return false
		}
		if string(space.uri) == xsiNamespace {
			switch string(s.localName(a)) {
			case "schemaLocation", "noNamespaceSchemaLocation":
				s.extra--
			}
		}
		for _, p := range s.attrs[:i] {
			if p.colon == p.start || string(s.localName(p)) != string(s.localName(a)) {
				continue
			}
			// The prefix xmlns is never declared, so such a p is not the same.
			if other, ok := s.lookup(s.prefix(p)); ok && string(other.uri) == string(space.uri) {
				s.fail(int(a.start), "attribute occurs twice")
				return false
			}
		}
	}
	return true
}
