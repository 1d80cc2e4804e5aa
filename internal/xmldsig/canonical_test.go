package xmldsig

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quell/internal/strictxml"
)

// canonicalize returns the canonical form of a document or, in the exclusive form, of its first
// element that is called apex, if that is not "".
func canonicalize(t testing.TB, document, apex string, exclusive bool) string {
	t.Helper()
	var s strictxml.Scanner
	s.Init([]byte(document), "")
	c := canonicalizer{exclusive: exclusive}
	depth := 0 // of the apex, while it is open
	for {
		switch s.Next() {
		case strictxml.StartElement:
			if depth == 0 && (apex == "" || string(s.Local) == apex) {
				depth = s.Depth
			}
			if depth > 0 {
				c.start(&s)
			}
		case strictxml.CharData:
			if depth > 0 {
				c.text(s.Text)
			}
		case strictxml.EndElement:
			if depth > 0 {
				c.end()
			}
			if s.Depth < depth {
				return string(c.out)
			}
		default:
			t.Fatalf("%v: %s", s.Err, document)
		}
	}
}

func TestCanonicalForms(t *testing.T) {
	for _, c := range []struct{ document, inclusive, exclusive string }{
		{"<a/>", "<a></a>", "<a></a>"},
		{"\uFEFF<?xml version='1.0'?>\n<!-- x -->\n<a\n></a >\n<!-- y -->", "<a></a>", "<a></a>"},
		{"<a>b<!-- x -->c<![CDATA[<&>]]>&#13;\r\n\r&gt;\t\"</a>", "<a>bc&lt;&amp;&gt;&#xD;\n\n&gt;\t\"</a>", "<a>bc&lt;&amp;&gt;&#xD;\n\n&gt;\t\"</a>"},
		{"<a b='&quot;\t\n\r\r\n&#9;&#10;&#13;&lt;>&apos; '/>", `<a b="&quot;    &#x9;&#xA;&#xD;&lt;>' "></a>`, `<a b="&quot;    &#x9;&#xA;&#xD;&lt;>' "></a>`},
		{"<a d='' c='' b=''/>", `<a b="" c="" d=""></a>`, `<a b="" c="" d=""></a>`},
		{"<a xmlns:z='urn:1' xmlns:y='urn:2' y:a='' z:a='' a=''/>", `<a xmlns:y="urn:2" xmlns:z="urn:1" a="" z:a="" y:a=""></a>`, `<a xmlns:y="urn:2" xmlns:z="urn:1" a="" z:a="" y:a=""></a>`},
		{"<p:a xmlns:p='urn:1' xmlns:q='urn:2'><b xmlns:p='urn:1'/></p:a>", `<p:a xmlns:p="urn:1" xmlns:q="urn:2"><b></b></p:a>`, `<p:a xmlns:p="urn:1"><b></b></p:a>`},
		{"<a xmlns=''><b xmlns='urn:1'><c xmlns=''/><d/></b></a>", `<a><b xmlns="urn:1"><c xmlns=""></c><d></d></b></a>`, `<a><b xmlns="urn:1"><c xmlns=""></c><d></d></b></a>`},
		{"<a xmlns:p='urn:1'><p:b/><p:b/></a>", `<a xmlns:p="urn:1"><p:b></p:b><p:b></p:b></a>`, `<a><p:b xmlns:p="urn:1"></p:b><p:b xmlns:p="urn:1"></p:b></a>`},
		{"<a xmlns='urn:1'><p:b xmlns:p='urn:2' xmlns=''><c/></p:b></a>", `<a xmlns="urn:1"><p:b xmlns="" xmlns:p="urn:2"><c></c></p:b></a>`, `<a xmlns="urn:1"><p:b xmlns:p="urn:2"><c xmlns=""></c></p:b></a>`},
		// xmllint does not escape a namespace, which Canonical XML 1.0, 2.3 asks for, and Java does.
		{`<a xmlns="urn:&amp;&quot;'&lt;>"/>`, `<a xmlns="urn:&amp;&quot;'&lt;>"></a>`, `<a xmlns="urn:&amp;&quot;'&lt;>"></a>`},
		{"<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'/>", `<a xml:lang="en"></a>`, `<a xml:lang="en"></a>`},
	} {
		if got := canonicalize(t, c.document, "", false); got != c.inclusive {
			t.Errorf("%s:\n%s, want\n%s", c.document, got, c.inclusive)
		}
		if got := canonicalize(t, c.document, "", true); got != c.exclusive {
			t.Errorf("%s, exclusive:\n%s, want\n%s", c.document, got, c.exclusive)
		}
	}
}

// TestIgnorable holds which white space does not matter.
func TestIgnorable(t *testing.T) {
	for document, want := range map[string]string{ // "" if there is none
		"<a> <b/> </a>":                                 "<a><b></b></a>",
		"<a><b>\n<c/></b></a>":                          "<a><b><c></c></b></a>",
		"<a> <b> </b></a>":                              "<a><b> </b></a>",
		"<a>&#32;<b/>&#13;\t<![CDATA[ \r]]></a>":        "<a><b></b></a>",
		"<a> <!-- x --> <b/></a>":                       "<a><b></b></a>",
		"<a> <b/>x</a>":                                 "",
		"<a>x<b/> </a>":                                 "",
		"<a> x<b/></a>":                                 "",
		"<a> &#120; <b/></a>":                           "",
		"<a>\u00a0<b/></a>":                             "",
		"<a> </a>":                                      "",
		"<a><b> x </b></a>":                             "",
		"<a> <b>x <c/> </b> </a>":                       "<a><b>x <c></c> </b></a>",
		"<a>x <b> <c/> </b> </a>":                       "<a>x <b><c></c></b> </a>",
		"<a><b/></a>":                                   "",
		"<a><![CDATA[]]><b/></a>":                       "",
		"<a b=' '><c d='\n'/></a>":                      "",
		"<a> <b> <c> <d/> </c> <d> </d> </b>\n</a>\n\n": "<a><b><c><d></d></c><d> </d></b></a>",
	} {
		var s strictxml.Scanner
		s.Init([]byte(document), "")
		var c canonicalizer
		for event := s.Next(); event != strictxml.EOF; event = s.Next() {
			switch event {
			case strictxml.StartElement:
				c.start(&s)
			case strictxml.CharData:
				c.text(s.Text)
			case strictxml.EndElement:
				c.end()
			default:
				t.Fatal(s.Err)
			}
		}
		sums, n := c.digests()
		if (n == 2) != (want != "") {
			t.Errorf("%s: %d digests", document, n)
		} else if n == 2 {
			if only, _ := (&canonicalizer{out: []byte(want)}).digests(); sums[1] != only[0] {
				t.Errorf("%s: not the digest of %s", document, want)
			}
		}
	}
}

// generator writes random documents, each in two ways: with comments and without.
type generator struct {
	*rand.Rand
	with, without strings.Builder
}

func (g *generator) write(s string) {
	g.with.WriteString(s)
	g.without.WriteString(s)
}

func (g *generator) one(of ...string) string { return of[g.IntN(len(of))] }

// element writes an element and what is in it. scope has the namespaces of the prefixes.
func (g *generator) element(depth int, scope map[string]string) {
	scope = maps.Clone(scope)
	var attrs []string
	used := map[string]bool{}
	for range g.IntN(4) {
		prefix, uri := g.one("", "p", "q", "r", "xml"), g.one("urn:a", "urn:b", "urn:%C3%A9", "http://example.org/?a=b")
		if prefix == "" {
			uri = g.one(uri, uri, "")
		}
		name := strings.TrimSuffix("xmlns:"+prefix, ":")
		if used[name] {
			continue
		}
		used[name] = true
		if prefix == "xml" {
			uri = "http://www.w3.org/XML/1998/namespace"
		} else {
			scope[prefix] = uri
		}
		attrs = append(attrs, name+g.quoted(uri))
	}
	prefixes := slices.Sorted(maps.Keys(scope))
	name := g.one("a", "b", "c", "d.e-f_1")
	if prefix := g.one(prefixes...); prefix != "" {
		name = prefix + ":" + name
	}
	expanded := map[string]bool{}
	for range g.IntN(5) {
		local, prefix := g.one("a", "b", "c", "Z", "_"), g.one(append(prefixes, "xml", "")...)
		full, key := local, " "+local
		if prefix != "" {
			full, key = prefix+":"+local, scope[prefix]+" "+local
		}
		if prefix == "xml" {
			full, key = "xml:"+local, "xml "+local
		}
		if expanded[key] {
			continue
		}
		expanded[key] = true
		var value strings.Builder
		for range g.IntN(4) {
			value.WriteString(g.one("x", "&lt;", "&amp;", "&quot;", "&apos;", ">", "\t", "\n", "\r", "\r\n", "\n\r", "&#9;", "&#10;", "&#13;", "&#32;", "  ", "\u00e9", "\U0001F50C", "&#x1F50C;"))
		}
		attrs = append(attrs, full+g.quoted(value.String()))
	}
	g.Shuffle(len(attrs), func(i, j int) { attrs[i], attrs[j] = attrs[j], attrs[i] })
	g.write("<" + name)
	for _, a := range attrs {
		g.write(g.one(" ", "\n", " \t") + a)
	}
	if depth == 0 || g.IntN(6) == 0 {
		g.write(g.one("/>", " />", "></"+name+">", "></"+name+"\n>"))
		return
	}
	g.write(">")
	for range g.IntN(6) {
		switch g.IntN(4) {
		case 0:
			g.element(depth-1, scope)
		case 1:
			g.write("z") // without the comment, \r before it and \n after it would be one line end
			g.with.WriteString(g.one("<!-- x -->", "<!---->", "<!-- <a> & -->"))
		default:
			g.write(g.one("x", " ", "\n", "\r\n", "\r", "\t", "&#13;", "&#10;", "&#9;", "&lt;", "&gt;", "&amp;", "&quot;", "\"", "'", ">", "]]y", "]y", "\u00e9", "&#xe9;",
				"<![CDATA[]]>", "<![CDATA[ \r\n ]]>", "<![CDATA[<&>]]>", "<![CDATA[]]]]>", "\U0001F50C"))
		}
	}
	g.write("</" + name + ">")
}

func (g *generator) quoted(value string) string {
	quote := g.one(`"`, "'")
	return g.one("=", " = ") + quote + value + quote
}

// TestCanonicalAgainstXMLLint compares with xmllint, which keeps comments: so it gets the documents
// without. One large document has many small ones in it; the others begin anew.
func TestCanonicalAgainstXMLLint(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("there is no xmllint; on Debian it is in libxml2-utils")
	}
	judge := func(option, document string) string {
		file := filepath.Join(t.TempDir(), "x.xml")
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(xmllint, option, "--nonet", "--huge", file).Output()
		if err != nil {
			t.Fatalf("xmllint %s: %v: %.2000s", option, err, document)
		}
		return string(out)
	}
	large := 3000
	if testing.Short() {
		large = 300
	}
	sizes := append(slices.Repeat([]int{1}, 40), large)
	for seed, size := range sizes {
		g := generator{Rand: rand.New(rand.NewPCG(16, uint64(seed)))}
		g.write("<apex xmlns:p='urn:p' xmlns='urn:default'>")
		for range size {
			g.element(4, map[string]string{"p": "urn:p", "": "urn:default"})
		}
		g.write("</apex>")
		with, without := g.with.String(), g.without.String()
		compare(t, "inclusive", canonicalize(t, with, "", false), judge("--c14n", without))
		want := judge("--exc-c14n", without)
		compare(t, "exclusive", canonicalize(t, with, "", true), want)

		// The namespaces that apex uses are those of its ancestors: the form is the same.
		inner := strings.Replace(with, "<apex xmlns:p='urn:p' xmlns='urn:default'>", "<apex>", 1)
		outer := fmt.Sprintf("<x:y xmlns:x='urn:x' xmlns:p='urn:other' xmlns='urn:default'> <q xml:lang='en' xmlns:p='urn:p'> %s </q></x:y>", inner)
		compare(t, "exclusive, of an element", canonicalize(t, outer, "apex", true), want)
	}
}

func compare(t *testing.T, name, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-200)
	t.Fatalf("%s: differs at byte %d:\n%q\nwant\n%q", name, at, got[from:min(len(got), at+100)], want[from:min(len(want), at+100)])
}
