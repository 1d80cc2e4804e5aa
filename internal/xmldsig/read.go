package xmldsig

import (
	"fmt"

	"quell/internal/strictxml"
)

// An element of a signature, in the order of the document. There is no choice: the order and
// the depths are the tree.
type element struct {
	depth     int // below Signature
	name      string
	attribute string // the one attribute that it must have; "" if it may have none
	value     string // of the attribute
	leaf      func(*reader) *[]byte
}

// form is the one form of a signature. DUIS allows any that the XML Signature schema allows, but
// all that was seen has this form.
var form = []element{
	{name: "Signature"},
	{depth: 1, name: "SignedInfo"},
	{depth: 2, name: "CanonicalizationMethod", attribute: "Algorithm", value: exclusiveC14N},
	{depth: 2, name: "SignatureMethod", attribute: "Algorithm", value: ecdsaSHA256},
	{depth: 2, name: "Reference", attribute: "URI", value: ""},
	{depth: 3, name: "Transforms"},
	{depth: 4, name: "Transform", attribute: "Algorithm", value: envelopedSignature},
	{depth: 3, name: "DigestMethod", attribute: "Algorithm", value: sha256Digest},
	{depth: 3, name: "DigestValue", leaf: func(r *reader) *[]byte { return &r.digest }},
	{depth: 1, name: "SignatureValue", leaf: func(r *reader) *[]byte { return &r.signature }},
	{depth: 1, name: "KeyInfo"},
	{depth: 2, name: "X509Data"},
	{depth: 3, name: "X509IssuerSerial"},
	{depth: 4, name: "X509IssuerName", leaf: func(r *reader) *[]byte { return &r.issuer }},
	{depth: 4, name: "X509SerialNumber", leaf: func(r *reader) *[]byte { return &r.serial }},
}

const (
	exclusiveC14N      = "http://www.w3.org/2001/10/xml-exc-c14n#"
	ecdsaSHA256        = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
	envelopedSignature = namespace + "enveloped-signature"
	sha256Digest       = "http://www.w3.org/2001/04/xmlenc#sha256"
)

// signatureDepth is how many elements are open in a Signature: it is a child of the root.
const signatureDepth = 2

// reader reads a document, and makes the two canonical forms meanwhile.
type reader struct {
	strictxml.Scanner
	whole      canonicalizer // the document without its signature
	signedInfo canonicalizer

	place place
	next  int     // in form
	leaf  *[]byte // where text of the open element goes; nil if only white space may be there
	attrs []strictxml.Attr

	rootEnd                           int // the offset of the root's end tag
	digest, signature, issuer, serial []byte
}

// place is where a reader is.
type place uint8

const (
	beforeSignature place = iota
	inSignature           // but not in its SignedInfo
	inSignedInfo
	afterSignature
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// read reads the whole document.
func (r *reader) read(document []byte) error {
	r.Init(document, namespace)
	for {
		switch event := r.Next(); event {
		case strictxml.StartElement:
			if err := r.start(); err != nil {
				return err
			}
		case strictxml.CharData:
			if err := r.text(); err != nil {
				return err
			}
		case strictxml.EndElement:
			if err := r.end(); err != nil {
				return err
			}
		case strictxml.EOF:
			if r.place == beforeSignature {
				return ErrMissing
			}
			return nil
		default:
			return fmt.Errorf("%w: %w", ErrUnreadable, r.Err)
		}
	}
}

func (r *reader) start() error {
	switch r.place {
	case inSignature, inSignedInfo:
		return r.element()
	case afterSignature: // the root's end must be next
		return invalid("element %.60q after the signature", r.Local)
	}
	if !r.Known {
		r.whole.start(&r.Scanner)
		return nil
	}
	if string(r.Local) != form[0].name || r.Depth != signatureDepth {
		return invalid("%.60q of a signature in the wrong place", r.Local)
	}
	r.place = inSignature
	return r.element()
}

// element checks the start of an element of the signature against the form.
func (r *reader) element() error {
	if r.next == len(form) {
		return invalid("element %.60q too many", r.Local)
	}
	want := &form[r.next]
	r.next++
	if !r.Known || string(r.Local) != want.name || r.Depth != signatureDepth+want.depth {
		return invalid("element %.60q where %s must be", r.Local, want.name)
	}
	r.attrs = r.AppendAttrs(r.attrs[:0])
	switch {
	case want.attribute == "" && len(r.attrs) == 0:
	case want.attribute != "" && len(r.attrs) == 1 && string(r.attrs[0].Name) == want.attribute && string(r.attrs[0].Value) == want.value:
	default:
		return invalid("%s has another attribute, or another value, than it must have", want.name)
	}
	if want.name == "SignedInfo" {
		r.place = inSignedInfo
	}
	if r.place == inSignedInfo {
		r.signedInfo.start(&r.Scanner)
	}
	if r.leaf = nil; want.leaf != nil {
		r.leaf = want.leaf(r)
	}
	return nil
}

func (r *reader) text() error {
	switch r.place {
	case beforeSignature, afterSignature:
		r.whole.text(r.Text)
		return nil
	case inSignedInfo:
		r.signedInfo.text(r.Text)
	}
	if r.leaf != nil {
		*r.leaf = strictxml.Join(*r.leaf, r.Text)
	} else if len(strictxml.TrimSpace(r.Text)) > 0 {
		return invalid("text between the elements of the signature")
	}
	return nil
}

func (r *reader) end() error {
	r.leaf = nil
	switch r.place {
	case beforeSignature, afterSignature:
		r.whole.end()
		r.rootEnd = r.Offset
	case inSignedInfo:
		r.signedInfo.end()
		if r.Depth == signatureDepth {
			r.place = inSignature
		}
	case inSignature:
		if r.Depth >= signatureDepth {
			return nil
		}
		if r.next < len(form) {
			return invalid("%s is missing", form[r.next].name)
		}
		r.place = afterSignature
	}
	return nil
}
