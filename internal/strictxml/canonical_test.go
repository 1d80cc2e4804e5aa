package strictxml

import (
	"fmt"
	"slices"
	"testing"
)

// TestStartTag holds what the methods for Canonical XML say of each start tag.
func TestStartTag(t *testing.T) {
	const document = "<p:a xmlns:p='urn:1' xmlns = \"urn:2\" b='&#9;\t&lt;\r\n\r&#13;&quot;' p:c=\"'\" xml:lang=''>" +
		"<b xmlns='' xmlns:q='urn:1' q:c='' c='x'/><p:d/><xml:e xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='u v'></xml:e></p:a>"
	want := []string{
		`name p:a, prefix p in urn:1; declares p=urn:1 =urn:2; has b "b" in "" "\t <  \r\"", p:c "c" in "urn:1" "'", xml:lang "lang" in "http://www.w3.org/XML/1998/namespace" "",; default urn:2`,
		`name b, prefix  in ; declares = q=urn:1; has q:c "c" in "urn:1" "", c "c" in "" "x",; default `,
		`name p:d, prefix p in urn:1; declares; has; default urn:2`,
		`name xml:e, prefix xml in http://www.w3.org/XML/1998/namespace; declares xsi=http://www.w3.org/2001/XMLSchema-instance;` +
			` has xsi:schemaLocation "schemaLocation" in "http://www.w3.org/2001/XMLSchema-instance" "u v",; default urn:2`,
	}
	var s Scanner
	s.Init([]byte(document), "")
	var got []string
	for event := s.Next(); event != EOF; event = s.Next() {
		if event == Fault {
			t.Fatal(s.Err)
		}
		if event != StartElement {
			continue
		}
		line := fmt.Sprintf("name %s, prefix %s in %s; declares", s.Name(), s.Prefix(), s.Resolve(s.Prefix()))
		for _, d := range s.AppendDeclarations(nil) {
			line += fmt.Sprintf(" %s=%s", d.Prefix, d.URI)
		}
		line += "; has"
		for range 2 { // reading a value twice changes nothing
			attrs := s.AppendAttrs(nil)
			if len(attrs) > 0 && cap(attrs[0].Name) != len(attrs[0].Name) {
				t.Error("a name has capacity beyond its length")
			}
		}
		for _, a := range s.AppendAttrs(nil) {
			line += fmt.Sprintf(" %s %q in %q %q,", a.Name, a.Local, a.Namespace, a.Value)
		}
		got = append(got, line+fmt.Sprintf("; default %s", s.Resolve(nil)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
