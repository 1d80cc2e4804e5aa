package xmldsig

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"quell/internal/strictxml"
)

// canonicalizer writes a document, or an element of one, as Canonical XML 1.0 without
// comments or, if it is exclusive, as Exclusive XML Canonicalization 1.0 without comments
// and without a PrefixList. It is told of each start, text and end in the order of the
// document.
//
// It only ever begins with an element that has no ancestor in the output. For the inclusive
// form that must be the root, so no attribute is inherited (xml:lang and the like).
type canonicalizer struct {
	exclusive bool
	out       []byte
	open      []openElement
	rendered  []strictxml.Declaration // those that are in force in out, the innermost last
	spaces    []space

	declarations []strictxml.Declaration // of one element
	attrs        []strictxml.Attr
}

type openElement struct {
	name     []byte
	rendered int  // len(canonicalizer.rendered) before it
	parent   bool // it has a child element
	text     bool // it has text that is not white space
	space    int  // the last of its spaces, counted from 1; 0 if there is none
}

// space is white space in an element: out[start:end].
type space struct {
	start, end int
	before     int  // the one before it in the same element, counted from 1; 0 if it is the first
	ignorable  bool // it may be removed
}

// start writes the start tag of the element that has just started.
func (c *canonicalizer) start(s *strictxml.Scanner) {
	if n := len(c.open); n > 0 {
		c.open[n-1].parent = true
	}
	name := s.Name()
	c.open = append(c.open, openElement{name: name, rendered: len(c.rendered)})
	c.out = append(append(c.out, '<'), name...)
	c.attrs = s.AppendAttrs(c.attrs[:0])
	c.namespaces(s)
	if len(c.attrs) > 1 {
		slices.SortFunc(c.attrs, func(a, b strictxml.Attr) int {
			if n := bytes.Compare(a.Namespace, b.Namespace); n != 0 {
				return n
			}
			return bytes.Compare(a.Local, b.Local)
		})
	}
	for _, a := range c.attrs {
		c.attribute(a.Name, a.Value)
	}
	c.out = append(c.out, '>')
}

// namespaces writes the declarations that the element needs, in order of the prefix.
func (c *canonicalizer) namespaces(s *strictxml.Scanner) {
	if c.exclusive {
		c.declarations = append(c.declarations[:0], strictxml.Declaration{Prefix: s.Prefix(), URI: s.Resolve(s.Prefix())})
		for _, a := range c.attrs {
			if prefix, _, prefixed := bytes.Cut(a.Name, []byte(":")); prefixed {
				c.declarations = append(c.declarations, strictxml.Declaration{Prefix: prefix, URI: a.Namespace})
			}
		}
	} else {
		c.declarations = s.AppendDeclarations(c.declarations[:0])
	}
	if len(c.declarations) > 1 {
		slices.SortFunc(c.declarations, func(a, b strictxml.Declaration) int { return bytes.Compare(a.Prefix, b.Prefix) })
	}
	for _, d := range c.declarations {
		switch {
		case string(d.Prefix) == "xml", bytes.Equal(c.namespace(d.Prefix), d.URI):
			continue
		case len(d.Prefix) == 0:
			c.attribute([]byte("xmlns"), d.URI)
		default:
			c.attribute(slices.Concat([]byte("xmlns:"), d.Prefix), d.URI)
		}
		c.rendered = append(c.rendered, d)
	}
}

// namespace returns what a prefix means in out. It is empty if there is nothing.
func (c *canonicalizer) namespace(prefix []byte) []byte {
	for _, d := range slices.Backward(c.rendered) {
		if bytes.Equal(d.Prefix, prefix) {
			return d.URI
		}
	}
	return nil
}

func (c *canonicalizer) attribute(name, value []byte) {
	c.out = append(append(append(c.out, ' '), name...), '=', '"')
	c.escaped(value, "&<\"\t\n\r")
	c.out = append(c.out, '"')
}

// text writes a piece of text of the innermost element.
func (c *canonicalizer) text(b []byte) {
	start := len(c.out)
	c.escaped(b, "&<>\r")
	e := &c.open[len(c.open)-1]
	if len(strictxml.TrimSpace(b)) > 0 {
		e.text = true
	} else if len(b) > 0 {
		c.spaces = append(c.spaces, space{start: start, end: len(c.out), before: e.space})
		e.space = len(c.spaces)
	}
}

// escaped writes b with references in place of the characters in special.
func (c *canonicalizer) escaped(b []byte, special string) {
	for {
		i := bytes.IndexAny(b, special)
		if i < 0 {
			c.out = append(c.out, b...)
			return
		}
		c.out = append(c.out, b[:i]...)
		c.out = append(c.out, reference(b[i])...)
		b = b[i+1:]
	}
}

func reference(c byte) string {
	switch c {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	case '"':
		return "&quot;"
	case '\t':
		return "&#x9;"
	case '\n':
		return "&#xA;"
	}
	return "&#xD;"
}

// end writes the end tag of the innermost element.
func (c *canonicalizer) end() {
	e := c.open[len(c.open)-1]
	c.open = c.open[:len(c.open)-1]
	c.rendered = c.rendered[:e.rendered]
	c.out = append(append(append(c.out, '<', '/'), e.name...), '>')
	if e.parent && !e.text {
		for i := e.space; i > 0; i = c.spaces[i-1].before {
			c.spaces[i-1].ignorable = true
		}
	}
}

// digests returns the SHA-256 of what was written, first as it is, and then without the white
// space between elements, if there is any: see the package's comment.
func (c *canonicalizer) digests() (all [2][sha256.Size]byte, n int) {
	all[0] = sha256.Sum256(c.out)
	hash, at := sha256.New(), 0
	for _, s := range c.spaces {
		if s.ignorable {
			hash.Write(c.out[at:s.start])
			at = s.end
		}
	}
	if at == 0 {
		return all, 1
	}
	hash.Write(c.out[at:])
	hash.Sum(all[1][:0])
	return all, 2
}
