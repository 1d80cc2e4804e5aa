package duis

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// xmllint judges what is valid, with the schema in testdata/schema. That says of the
// two messages that quell decides on what DUIS says of them. To compare it with the
// real schema, give the path of that:
//
//	QUELL_DUIS_XSD=.../DUIS.xsd go test ./internal/duis -run TestJudge
//
// xmllint needs two changes to a copy of it: no blanks in the name of the schema
// that it imports, and X509SerialNumber as a string.
const realSchema = "QUELL_DUIS_XSD"

// xmllint returns the path of xmllint, or skips the test.
func xmllint(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("there is no xmllint; on Debian it is in libxml2-utils")
	}
	return path
}

// judge says which of the documents are valid to the schema or, without a schema,
// which are well-formed.
func judge(t *testing.T, schema string, docs []string) []bool {
	t.Helper()
	args := []string{"--noout", "--nonet"}
	if schema != "" {
		args = append(args, "--schema", schema)
	}
	dir := t.TempDir()
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%05d.xml", i)) }
	for i, doc := range docs {
		if err := os.WriteFile(name(i), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name(i))
	}
	out, err := exec.Command(xmllint(t), args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("Schemas parser error")) {
		t.Fatalf("the schema is faulty: %s", out)
	}
	// A line for each fault begins with the file's name and a colon.
	bad, said := make(map[string]bool), 0
	for line := range strings.Lines(string(out)) {
		if file, _, ok := strings.Cut(line, ".xml:"); ok {
			bad[file+".xml"] = true
		}
		if strings.HasSuffix(line, ".xml validates\n") {
			said++
		}
	}
	valid := make([]bool, len(docs))
	n := 0
	for i := range docs {
		if valid[i] = !bad[name(i)]; valid[i] {
			n++
		}
	}
	if schema != "" && n != said {
		t.Fatalf("xmllint calls %d documents valid, and faults none of %d: %.2000s", said, n, out)
	}
	return valid
}

// tree is an element that mutations change.
type tree struct {
	space, name, attrs string
	text               string // of a leaf, as XML
	before             string // of a container: what comes before its first child, as XML
	kids               []*tree
	parent             *tree
}

// parseTree reads a compact document whose elements are in the DUIS namespace
// or have one of their own.
func parseTree(t *testing.T, doc string) *tree {
	d := xml.NewDecoder(strings.NewReader(doc))
	root := &tree{}
	for at := root; ; {
		token, err := d.Token()
		if err == io.EOF {
			return root.kids[0]
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			kid := &tree{space: e.Name.Space, name: e.Name.Local, parent: at}
			for _, a := range e.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					kid.attrs += fmt.Sprintf(` %s="%s"`, a.Name.Local, a.Value)
				}
			}
			at.kids = append(at.kids, kid)
			at = kid
		case xml.EndElement:
			at = at.parent
		case xml.CharData:
			at.text += string(e)
		}
	}
}

func (e *tree) write(b *strings.Builder) {
	space := ""
	if e.parent == nil || e.parent.space != e.space {
		space = fmt.Sprintf(` xmlns="%s"`, e.space)
	}
	fmt.Fprintf(b, "<%s%s%s>%s%s", e.name, space, e.attrs, e.before, e.text)
	for _, kid := range e.kids {
		kid.write(b)
	}
	fmt.Fprintf(b, "</%s>", e.name)
}

func (e *tree) String() string {
	var b strings.Builder
	e.write(&b)
	return b.String()
}

// all calls f for e and everything in it.
func (e *tree) all(f func(*tree)) {
	f(e)
	for _, kid := range e.kids {
		kid.all(f)
	}
}

// index returns e's place among its parent's children.
func (e *tree) index() int {
	for i, kid := range e.parent.kids {
		if kid == e {
			return i
		}
	}
	return -1
}

// put puts more, as XML, before e's children, or into a leaf's text.
func (e *tree) put(more string) { e.before = more + e.before }

func (e *tree) insert(i int, kid *tree) {
	e.kids = append(e.kids[:i:i], append([]*tree{kid}, e.kids[i:]...)...)
}

// laterElement is one that no version of DUIS has yet.
func laterElement(parent *tree) *tree {
	return &tree{space: Namespace, name: "Later", text: "1", attrs: ` of="x"`, parent: parent}
}

// mutations are the changes that are made to each element of a message. The result
// is false if the change is not possible for this element.
var mutations = []struct {
	name string
	do   func(e *tree) bool
}{
	{"removed", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		i := e.index()
		e.parent.kids = append(e.parent.kids[:i:i], e.parent.kids[i+1:]...)
		return true
	}},
	{"twice", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		e.parent.insert(e.index(), e)
		return true
	}},
	{"after the next", func(e *tree) bool {
		i := e.index()
		if i+1 >= len(e.parent.kids) {
			return false
		}
		k := e.parent.kids
		k[i], k[i+1] = k[i+1], k[i]
		return true
	}},
	{"first", func(e *tree) bool {
		i := e.index()
		if i < 2 {
			return false
		}
		e.parent.kids = append(e.parent.kids[:i:i], e.parent.kids[i+1:]...)
		e.parent.insert(0, e)
		return true
	}},
	{"emptied", func(e *tree) bool { e.kids, e.text = nil, ""; return true }},
	{"renamed", func(e *tree) bool { e.name = "Later"; return true }},
	{"in capitals", func(e *tree) bool { e.name = strings.ToUpper(e.name); return true }},
	{"in a later element", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		wrap := laterElement(e.parent)
		wrap.text, wrap.kids = "", []*tree{e}
		e.parent.kids[e.index()] = wrap
		return true
	}},
	{"of no namespace", func(e *tree) bool { e.space = ""; return true }},
	{"of another namespace", func(e *tree) bool { e.space = "urn:x"; return true }},
	{"after a later element", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		e.parent.insert(e.index(), laterElement(e.parent))
		return true
	}},
	{"before a later element", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		e.parent.insert(e.index()+1, laterElement(e.parent))
		return true
	}},
	{"after an element of another namespace", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		foreign := laterElement(e.parent)
		foreign.space = "urn:x"
		e.parent.insert(e.index(), foreign)
		return true
	}},
	{"after a signature", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		e.parent.insert(e.index(), parseSignature(e.parent))
		return true
	}},
	{"before a signature", func(e *tree) bool {
		if e.parent.parent == nil {
			return false
		}
		e.parent.insert(e.index()+1, parseSignature(e.parent))
		return true
	}},
	{"with a later element", func(e *tree) bool { e.insert(0, laterElement(e)); return true }},
	{"with text", func(e *tree) bool { e.put("x"); return true }},
	{"with a digit", func(e *tree) bool { e.put("&#49;"); return true }},
	{"with CDATA", func(e *tree) bool { e.put("<![CDATA[x]]>"); return true }},
	{"with a no-break space", func(e *tree) bool { e.put("\u00A0"); return true }},
	{"with white space", func(e *tree) bool { e.put("\n\t "); return true }},
	{"with a comment", func(e *tree) bool { e.put("<!-- x -->"); return true }},
	{"with white space after", func(e *tree) bool {
		if len(e.kids) > 0 {
			return false
		}
		e.text += " "
		return true
	}},
	{"with an attribute", func(e *tree) bool { e.attrs += ` x="y"`; return true }},
	{"with a schemaVersion", func(e *tree) bool {
		if e.attrs != "" {
			return false
		}
		e.attrs = ` schemaVersion="5.4"`
		return true
	}},
	{"without attributes", func(e *tree) bool { had := e.attrs != ""; e.attrs = ""; return had }},
	{"with a language", func(e *tree) bool { e.attrs += ` xml:lang="en"`; return true }},
	{"with an attribute of another namespace", func(e *tree) bool { e.attrs += ` q:x="y" xmlns:q="urn:q"`; return true }},
	{"with a declaration", func(e *tree) bool { e.attrs += ` xmlns:q="urn:q"`; return true }},
	{"with a hint", func(e *tree) bool {
		e.attrs += ` i:noNamespaceSchemaLocation="x.xsd" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="urn:x x.xsd"`
		return true
	}},
	{"with an unknown hint", func(e *tree) bool {
		e.attrs += ` xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schema="x.xsd"`
		return true
	}},
}

func parseSignature(parent *tree) *tree {
	return &tree{space: signatureNamespace, name: "Signature", parent: parent, text: signatureXML}
}

// signatureXML is what the real schema requires in a Signature.
const signatureXML = `<SignedInfo><CanonicalizationMethod Algorithm="urn:a"/><SignatureMethod Algorithm="urn:b"/><Reference URI="">` +
	`<DigestMethod Algorithm="urn:c"/><DigestValue>AA==</DigestValue></Reference></SignedInfo><SignatureValue>AA==</SignatureValue>`

// judged is a document that xmllint has judged.
type judged struct {
	name, doc string
	body      Body
	head      bool // a request whose header is as it was
	without   string
}

// open are the elements in which Read accepts unknown elements.
var open = map[string]bool{"Header": true, "DCCAlertMessage": true, "PowerOutageEvent": true, "ActivateFirmware": true, "SignedPreCommand": true}

// generate makes the documents from the messages that quell decides on.
func generate(t *testing.T) (all []judged) {
	for _, base := range []struct {
		name, doc string
		body      Body
	}{
		{"AD1", powerCut, BodyPowerOutage},
		{"Service Request", change(t, activation, "<r:CommandVariant>",
			"<r:FirstInSequence>true</r:FirstInSequence><r:PrecedingServiceRequestID>90-b3-d5-1f-30-01-00-07:00-1b-c5-02-b0-00-4c-2e:70000</r:PrecedingServiceRequestID><r:CommandVariant>"), BodyActivateFirmware},
		{"Signed Pre-Command", preCommand, BodySignedPreCommand},
	} {
		add := func(what string, head bool, root *tree) {
			j := judged{name: base.name + ": " + what, doc: root.String(), body: base.body, head: head && base.body != BodyPowerOutage}
			root.all(func(e *tree) {
				if open[e.name] {
					kids := e.kids
					e.kids = nil
					for _, kid := range kids {
						if unknown := kid.name == "Later" || kid.name == strings.ToUpper(kid.name); !unknown || kid.space != Namespace {
							e.kids = append(e.kids, kid)
						}
					}
				}
			})
			j.without = root.String()
			all = append(all, j)
		}
		fresh := func(n int) (root, e *tree) {
			root = parseTree(t, base.doc)
			sig := parseSignature(root)
			root.kids = append(root.kids, sig)
			i := 0
			root.all(func(at *tree) {
				if i == n {
					e = at
				}
				i++
			})
			return root, e
		}
		inBody := func(e *tree) bool {
			for ; e != nil; e = e.parent {
				if e.name == "Body" || e.name == "Signature" {
					return true
				}
			}
			return false
		}
		for n := 0; ; n++ {
			_, e := fresh(n)
			if e == nil {
				break
			}
			name, head := e.name, inBody(e)
			if name == "Signature" { // quell does not look into it, the real schema does
				continue
			}
			for _, m := range mutations {
				if root, e := fresh(n); m.do(e) {
					add(name+" "+m.name, head, root)
				}
			}
			for _, v := range values[name] {
				root, e := fresh(n)
				e.text = v
				add(fmt.Sprintf("%s %q", name, v), head, root)
			}
		}
		for _, v := range values["schemaVersion"] {
			root, _ := fresh(0)
			root.attrs = fmt.Sprintf(` schemaVersion="%s"`, v)
			add(fmt.Sprintf("schemaVersion %q", v), true, root)
		}
		root, _ := fresh(0)
		root.kids = root.kids[:2]
		add("unsigned", true, root)
	}
	return all
}

// TestJudge holds Read to the schema: Read accepts what is valid and nothing else,
// with the exceptions in Read's comment.
func TestJudge(t *testing.T) {
	xmllint(t)
	all := generate(t)
	docs := make([]string, 0, 2*len(all))
	for _, j := range all {
		docs = append(docs, j.doc, j.without)
	}
	valid := judge(t, filepath.Join("testdata", "schema", "duis.xsd"), docs)
	if path := os.Getenv(realSchema); path != "" {
		for i, real := range judge(t, path, docs) {
			if real != valid[i] {
				t.Errorf("%s: valid to testdata/schema: %t, to %s: %t\n%s", all[i/2].name, valid[i], path, real, docs[i])
			}
		}
	}
	counts := make(map[string]int)
	for i, j := range all {
		want, as := valid[2*i], "as the schema has it"
		switch {
		case want && endsIn(j.name, narrower):
			want, as = false, "narrower than the schema"
		case !want && endsIn(j.name, lenient):
			want, as = true, "by a sign or white space"
		case !want && valid[2*i+1]:
			want, as = true, "with a later element"
		}
		counts[fmt.Sprintf("%s, read: %t", as, want)]++
		if base, _, _ := strings.Cut(j.name, ":"); want {
			counts[base+" read"]++
		}
		m, err := Read([]byte(j.doc))
		read := err == nil && m.Body == j.body && (m.Root == RootResponse || m.ServiceReferenceVariant == "11.3")
		if read != want {
			t.Errorf("%s: read %t, want %t, %s: %+v, %v\n%s", j.name, read, want, as, m, err, j.doc)
		}
		if err != nil && m.Body != BodyOther {
			t.Errorf("%s: a fault and a body: %+v, %v", j.name, m, err)
		}
		if j.head && m.Root == RootRequest &&
			(m.RequestID != supplier || m.CommandVariant == 0 || m.ServiceReferenceVariant != "11.3") {
			t.Errorf("%s: the header is lost: %+v, %v", j.name, m, err)
		}
	}
	t.Logf("%d documents: %v", len(all), counts)
	// Each kind must have occurred, or the test proves nothing.
	for _, kind := range []string{"as the schema has it, read: true", "as the schema has it, read: false", "narrower than the schema, read: false", "with a later element, read: true",
		"AD1 read", "Service Request read", "Signed Pre-Command read"} {
		if counts[kind] < 10 {
			t.Errorf("only %d documents %s", counts[kind], kind)
		}
	}
}

func endsIn(name string, ends []string) bool {
	for _, end := range ends {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// narrower are cases that Read refuses although xmllint does not: values that are
// of no use to quell and, at the end, what xmllint accepts as base64.
var narrower = []string{
	`CommsHubDeviceID "00-00-00-00-00-00-00-00"`,
	`: RequestID "00-00-00-00-00-00-00-00:00-00-00-00-00-00-00-00:0"`,
	`: ResponseID "00-00-00-00-00-00-00-00:00-00-00-00-00-00-00-00:0"`,
	`MPxN " "`, `MPxN "             "`,
	`GBCSPayload ""`, `GBCSPayload emptied`, `GBCSPayload " "`,
	`DateTime "12027-02-01T13:03:30Z"`, `DateTime "-2027-02-01T13:03:30Z"`, `DateTime with a digit`,
	`DateTime "0001-01-01T00:00:00Z"`, `DateTime "9999-12-31T23:59:59-01:00"`, `DateTime "9999-12-31T24:00:00Z"`,

	`GBCSPayload "*"`, `GBCSPayload with a no-break space`,
}

// lenient are cases that are valid although xmllint faults them: white space
// around an xs:dateTime and an xs:unsignedInt does not matter, and an unsignedInt
// may have a sign (XML Schema 1.1, part 2, 3.3.7 and 3.4.22).
var lenient = []string{
	`DateTime with white space`, `DateTime with white space after`, `DateTime " 2027-02-01T13:03:30Z\n"`,
	`ThrottledAlertSequenceId with white space`, `ThrottledAlertSequenceId with white space after`, `ThrottledAlertSequenceId " 7 "`,
	`ThrottledAlertSequenceId "+7"`, `ThrottledAlertSequenceId "+007"`, `ThrottledAlertSequenceId "+4294967295"`,
	`ThrottledAlertCount "+7"`, `ThrottledAlertCount "+007"`, `ThrottledAlertCount "+4294967295"`,
	`ThrottledAlertCount with white space`, `ThrottledAlertCount with white space after`, `ThrottledAlertCount " 7 "`,
}
