package strictxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// known is the namespace that the tests know.
const known = "urn:x"

// trace is what a document says: a line for each start, end and text. Texts with
// no start or end between them are joined.
func trace(b []byte) (string, error) {
	var s Scanner
	s.Init(b, known)
	var out, text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			fmt.Fprintf(&out, "text %q\n", text.String())
			text.Reset()
		}
	}
	for {
		switch s.Next() {
		case StartElement:
			flush()
			fmt.Fprintf(&out, "start %q %q\n", s.Namespace, s.Local)
			if s.Known != (string(s.Namespace) == known) {
				return "", errors.New("Known is wrong")
			}
		case EndElement:
			flush()
			out.WriteString("end\n")
		case CharData:
			text.Write(s.Text)
		case EOF:
			return out.String(), nil
		default:
			return "", s.Err
		}
	}
}

// traceXML is trace by encoding/xml.
func traceXML(b []byte) (string, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var out, text strings.Builder
	depth := 0
	flush := func() {
		if text.Len() > 0 && depth > 0 {
			fmt.Fprintf(&out, "text %q\n", text.String())
		}
		text.Reset()
	}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch e := token.(type) {
		case xml.StartElement:
			flush()
			depth++
			fmt.Fprintf(&out, "start %q %q\n", e.Name.Space, e.Name.Local)
		case xml.EndElement:
			flush()
			depth--
			out.WriteString("end\n")
		case xml.CharData:
			text.Write(e)
		}
	}
}

func TestScanAccepts(t *testing.T) {
	tests := map[string]struct {
		in   string
		want string // trace; start, end and text shortened to <, > and the quoted text
	}{
		"smallest":                     {`<a/>`, `<"" "a" >`},
		"blanks in tags":               {"<a \t\r\n></a \n>", `<"" "a" >`},
		"declaration":                  {`<?xml version="1.0"?><a/>`, `<"" "a" >`},
		"declaration, whole":           {"<?xml\tversion = '1.0' encoding='utf-8'\nstandalone=\"yes\" ?>\n<a/>", `<"" "a" >`},
		"declaration, standalone":      {`<?xml version="1.0" standalone="no"?><a/>`, `<"" "a" >`},
		"byte order mark":              {"\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>", `<"" "a" >`},
		"byte order mark only":         {"\uFEFF<a/>", `<"" "a" >`},
		"comments all over":            {`<!----><!-- - --><a><!-- <b> & --></a><!-- x -->`, `<"" "a" >`},
		"space around":                 {"\n <a/> \t\r\n", `<"" "a" >`},
		"text joins":                   {`<a>A<!-- x -->D<![CDATA[1<&]]>&amp;&#49;&#x4C;</a>`, `<"" "a" "AD1<&&1L" >`},
		"entities":                     {`<a>&lt;&gt;&amp;&apos;&quot;</a>`, `<"" "a" "<>&'\"" >`},
		"references":                   {`<a>&#xE9;&#233;&#x1F600;&#13;&#0000000065;</a>`, `<"" "a" "éé😀\rA" >`},
		"line ends":                    {"<a>1\r\n2\r3\n4\r\r\n5<![CDATA[6\r\n7\r8]]></a>", `<"" "a" "1\n2\n3\n4\n\n56\n7\n8" >`},
		"empty CDATA":                  {`<a><![CDATA[]]></a>`, `<"" "a" >`},
		"brackets in CDATA":            {`<a><![CDATA[]]]]></a>`, `<"" "a" "]]" >`},
		"CDATA ends twice":             {`<a><![CDATA[x]]]]><![CDATA[>]]></a>`, `<"" "a" "x]]>" >`},
		"brackets in text":             {`<a>]] > ]] ]&gt; ]]&gt;</a>`, `<"" "a" "]] > ]] ]> ]]>" >`},
		"> in text":                    {`<a>1>0</a>`, `<"" "a" "1>0" >`},
		"not ASCII":                    {"<a b='é'>é\u007f\u0085\uFFFD\U0010FFFF<!-- é --></a>", "<\"\" \"a\" \"é\\x7f\\u0085�\\U0010ffff\" >"},
		"attributes":                   {`<a b="1>2" c='"' d="'" e = "&lt;&#10;"/>`, `<"" "a" >`},
		"default namespace":            {`<a xmlns="urn:x"><b/><c xmlns=""/></a>`, `<"urn:x" "a" <"urn:x" "b" ><"" "c" >>`},
		"prefixes":                     {`<p:a xmlns:p="urn:x"><q:b xmlns:q="urn:y" xmlns:p="urn:z"><p:c/></q:b><p:d/></p:a>`, `<"urn:x" "a" <"urn:y" "b" <"urn:z" "c" >><"urn:x" "d" >>`},
		"declared after use":           {`<p:a p:b="" xmlns:p="urn:x"/>`, `<"urn:x" "a" >`},
		"reference in namespace":       {`<a xmlns="urn:&#x78;&amp;y"/>`, `<"urn:x&y" "a" >`},
		"namespace not for attributes": {`<a xmlns="urn:x" xmlns:p="urn:x" b="" p:b=""/>`, `<"urn:x" "a" >`},
		"prefix xml":                   {`<a xml:lang="en" xmlns:xml="http://www.w3.org/XML/1998/namespace"><xml:b/></a>`, `<"" "a" <"http://www.w3.org/XML/1998/namespace" "b" >>`},
		"names":                        {`<_a-.9 B:_c="" xmlns:B="u"></_a-.9>`, `<"" "_a-.9" >`},
		"64 deep":                      {strings.Repeat("<a>", 64) + strings.Repeat("</a>", 64), strings.Repeat(`<"" "a" `, 64) + strings.Repeat(">", 64)},
		"32 attributes":                {"<a" + attributes(32) + "/>", `<"" "a" >`},
		"32 namespaces":                {"<a" + declarations(0, 16) + "><b" + declarations(16, 32) + "/><c" + declarations(32, 48) + "/></a>", `<"" "a" <"" "b" ><"" "c" >>`},
		"32 attributes of one name":    {`<a xmlns:p="u"` + strings.ReplaceAll(attributes(31), " a", " p:a") + "/>", `<"" "a" >`},
	}
	short := strings.NewReplacer("start ", "<", "end\n", ">", "text ", "", "\n", " ")
	for name, tt := range tests {
		got, err := trace([]byte(tt.in))
		if got := short.Replace(got); err != nil || got != tt.want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", name, err, got, tt.want)
		}
		if want, err := traceXML([]byte(tt.in)); err != nil || got != want {
			t.Errorf("%s: encoding/xml: %v\n%s", name, err, want)
		}
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

func declarations(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, " xmlns:p%d='u%d'", i, i)
	}
	return b.String()
}

func TestScanRefuses(t *testing.T) {
	const valid = `<?xml version="1.0" encoding="UTF-8"?><a xmlns="u"><b c="d">e<!-- f --><![CDATA[g]]>&#65;</b></a>`
	if _, err := trace([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	for n := range valid {
		if _, err := trace([]byte(valid[:n])); err == nil {
			t.Errorf("the first %d bytes of %s", n, valid)
		}
	}
	tests := map[string]struct {
		in  string
		off int
	}{
		"nothing":                       {"", 0},
		"white space":                   {" \n", 2},
		"comment only":                  {"<!-- x -->", 10},
		"text only":                     {"AD1", 0},
		"text before":                   {"x<a/>", 0},
		"text after":                    {"<a/>x", 4},
		"reference after":               {"<a/>&#32;", 4},
		"CDATA before":                  {"<![CDATA[ ]]><a/>", 0},
		"CDATA after":                   {"<a/><![CDATA[ ]]>", 4},
		"two roots":                     {"<a/><b/>", 4},
		"end tag after":                 {"<a></a></a>", 7},
		"mismatched":                    {"<a></b>", 3},
		"mismatched case":               {"<a></A>", 3},
		"mismatched, longer":            {"<a></ab>", 3},
		"mismatched, shorter":           {"<ab></a>", 4},
		"mismatched prefix":             {`<a xmlns:p="u" xmlns:q="u"><p:b></q:b></a>`, 32},
		"crossed":                       {"<a><b></a></b>", 6},
		"end tag with attribute":        {`<a></a b="">`, 3},
		"end tag with blank":            {"<a></ a>", 3},
		"start tag with blank":          {"< a/>", 1},
		"blank in empty tag":            {"<a/ >", 2},
		"angle in tag":                  {"<a<b/></a>", 2},
		"name of digit":                 {"<1a/>", 1},
		"name of hyphen":                {"<-a/>", 1},
		"name not ASCII":                {"<é/>", 1},
		"name partly not ASCII":         {"<aé/>", 2},
		"empty prefix":                  {"<:a/>", 1},
		"empty local name":              {`<p: xmlns:p="u"/>`, 3},
		"local name of digit":           {`<p:1 xmlns:p="u"/>`, 3},
		"two colons":                    {`<p:a:b xmlns:p="u"/>`, 4},
		"attribute of digit":            {`<a 1b=""/>`, 3},
		"attribute without blank":       {`<a b=""c=""/>`, 7},
		"attribute without value":       {`<a b/>`, 4},
		"attribute without quotes":      {`<a b=c/>`, 5},
		"attribute without end":         {`<a b="c/>`, 9},
		"< in value":                    {`<a b="<"/>`, 6},
		"bare & in value":               {`<a b="x & y"/>`, 8},
		"unknown entity in value":       {`<a b="&nbsp;"/>`, 6},
		"control in value":              {"<a b='\x01'/>", 6},
		"duplicate attribute":           {`<a b="" c="" b=""/>`, 13},
		"duplicate declaration":         {`<a xmlns:p="u" xmlns:p="u"/>`, 15},
		"duplicate default":             {`<a xmlns="u" xmlns="v"/>`, 13},
		"duplicate by namespace":        {`<a xmlns:p="u" xmlns:q="u" p:b="" q:b=""/>`, 34},
		"duplicate, declared after":     {`<a p:b="" q:b="" xmlns:p="u" xmlns:q="u"/>`, 10},
		"duplicate, by reference":       {`<a p:b="" q:b="" xmlns:p="&#117;" xmlns:q="u"/>`, 10},
		"undeclared prefix":             {"<p:a/>", 0},
		"undeclared attribute prefix":   {`<a p:b=""/>`, 3},
		"prefix out of scope":           {`<a><b xmlns:p="u"/><p:c/></a>`, 19},
		"prefix undeclared":             {`<a xmlns:p=""/>`, 9},
		"prefix xmlns declared":         {`<a xmlns:xmlns="u"/>`, 9},
		"element xmlns":                 {`<xmlns xmlns="u"/>`, 0},
		"prefix xmlns used":             {`<xmlns:a/>`, 0},
		"prefix xml bound elsewhere":    {`<a xmlns:xml="u"/>`, 9},
		"prefix for xml":                {`<a xmlns:p="http://www.w3.org/XML/1998/namespace"/>`, 9},
		"default for xml":               {`<a xmlns="http://www.w3.org/XML/1998/namespace"/>`, 3},
		"prefix for xmlns":              {`<a xmlns:p="http://www.w3.org/2000/xmlns/"/>`, 9},
		"blank in namespace":            {`<a xmlns="u v"/>`, 3},
		"blank in namespace, reference": {`<a xmlns="u&#32;"/>`, 3},
		"document type":                 {`<!DOCTYPE a><a/>`, 0},
		"document type with entity":     {`<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, 0},
		"document type within":          {`<a><!DOCTYPE a></a>`, 3},
		"processing instruction":        {`<?pi x?><a/>`, 0},
		"processing instruction within": {`<a><?pi x?></a>`, 3},
		"processing instruction after":  {`<a/><?pi x?>`, 4},
		"style sheet":                   {`<?xml-stylesheet href="x"?><a/>`, 0},
		"declaration after blank":       {` <?xml version="1.0"?><a/>`, 1},
		"declaration after comment":     {`<!-- x --><?xml version="1.0"?><a/>`, 10},
		"two declarations":              {`<?xml version="1.0"?><?xml version="1.0"?><a/>`, 21},
		"declaration in capitals":       {`<?XML version="1.0"?><a/>`, 0},
		"version 1.1":                   {`<?xml version="1.1"?><a/>`, 0},
		"no version":                    {`<?xml encoding="UTF-8"?><a/>`, 0},
		"no blank before version":       {`<?xmlversion="1.0"?><a/>`, 0},
		"no blank before encoding":      {`<?xml version="1.0"encoding="UTF-8"?><a/>`, 0},
		"no blank before standalone":    {`<?xml version="1.0"standalone="no"?><a/>`, 0},
		"Latin 1":                       {`<?xml version="1.0" encoding="ISO-8859-1"?><a/>`, 0},
		"UTF-16 by name":                {`<?xml version="1.0" encoding="UTF-16"?><a/>`, 0},
		"UTF-16":                        {"\xFF\xFE<\x00a\x00/\x00>\x00", 0},
		"standalone maybe":              {`<?xml version="1.0" standalone="maybe"?><a/>`, 0},
		"declaration out of order":      {`<?xml version="1.0" standalone="no" encoding="UTF-8"?><a/>`, 0},
		"declaration with more":         {`<?xml version="1.0" x="y"?><a/>`, 0},
		"declaration without quotes":    {`<?xml version=1.0?><a/>`, 0},
		"declaration without =":         {`<?xml version "1.0"?><a/>`, 0},
		"mark within":                   {"\uFEFF\uFEFF<a/>", 3},
		"]]> in text":                   {"<a>x]]>y</a>", 4},
		"]]]> in text":                  {"<a>]]]></a>", 4},
		"-- in comment":                 {"<a><!-- x -- y --></a>", 10},
		"---> of comment":               {"<a><!-- x ---></a>", 10},
		"<!--> is no comment":           {"<!--><a/>", 9},
		"<!- is no comment":             {"<a><!- x -></a>", 3},
		"comment without end":           {"<a><!-- x </a>", 14},
		"CDATA without end":             {"<a><![CDATA[x]]</a>", 19},
		"cdata in lower case":           {"<a><![cdata[x]]></a>", 3},
		"bare &":                        {"<a>x & y</a>", 5},
		"& at the end":                  {"<a>&</a>", 3},
		"unknown entity":                {"<a>&nbsp;</a>", 3},
		"entity in capitals":            {"<a>&LT;</a>", 3},
		"empty reference":               {"<a>&;</a>", 3},
		"empty character reference":     {"<a>&#;</a>", 3},
		"empty hexadecimal reference":   {"<a>&#x;</a>", 3},
		"reference with X":              {"<a>&#X41;</a>", 3},
		"reference with sign":           {"<a>&#+65;</a>", 3},
		"reference with letter":         {"<a>&#6A;</a>", 3},
		"reference without semicolon":   {"<a>&#65</a>", 3},
		"reference to NUL":              {"<a>&#0;</a>", 3},
		"reference to control":          {"<a>&#x1F;</a>", 3},
		"reference to surrogate":        {"<a>&#xD800;</a>", 3},
		"reference to U+FFFE":           {"<a>&#xFFFE;</a>", 3},
		"reference beyond Unicode":      {"<a>&#x110000;</a>", 3},
		"reference that overflows":      {"<a>&#x100000041;</a>", 3},
		"endless reference":             {"<a>&#" + strings.Repeat("0", 40) + "65;</a>", 3},
		"NUL":                           {"<a>\x00</a>", 3},
		"control":                       {"<a>x\x1F</a>", 4},
		"control in comment":            {"<a><!-- \x02 --></a>", 8},
		"control in CDATA":              {"<a><![CDATA[\x02]]></a>", 12},
		"control in tag":                {"<a\x0B/>", 2},
		"U+FFFE":                        {"<a>\uFFFE</a>", 3},
		"U+FFFF":                        {"<a>\uFFFF</a>", 3},
		"bad UTF-8":                     {"<a>x\xFFy</a>", 4},
		"overlong UTF-8":                {"<a>\xC0\xBC</a>", 3},
		"surrogate in UTF-8":            {"<a>\xED\xA0\x80</a>", 3},
		"cut UTF-8":                     {"<a>\xC3</a>", 3},
		"bad UTF-8 in value":            {"<a b='\xE9'/>", 6},
		"bad UTF-8 in comment":          {"<a/><!-- \xE9 -->", 9},
		"bad UTF-8 in CDATA":            {"<a><![CDATA[\xE9]]></a>", 12},
		"next line as white space":      {"<a/>\u0085", 4},
		"65 deep":                       {strings.Repeat("<a>", 65) + strings.Repeat("</a>", 65), 192},
		"33 attributes":                 {"<a" + attributes(33) + "/>", 2 + len(attributes(32)) + 1},
		"33 namespaces":                 {"<a" + declarations(0, 16) + "><b" + declarations(16, 33) + "/></a>", 2 + len(declarations(0, 16)) + 3 + len(declarations(16, 32)) + 7},
	}
	for name, tt := range tests {
		_, err := trace([]byte(tt.in))
		var fault *SyntaxError
		if !errors.As(err, &fault) || fault.Offset != tt.off || fault.Msg == "" {
			t.Errorf("%s: got %v, want a fault at %d", name, err, tt.off)
		}
	}
}

// FuzzScan holds what the scanner accepts against encoding/xml.
func FuzzScan(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := trace(b)
		if err != nil {
			return
		}
		want, err := traceXML(b)
		if err != nil {
			t.Fatalf("accepted, but encoding/xml says %v", err)
		}
		if got != want {
			t.Fatalf("got\n%s\nencoding/xml:\n%s", got, want)
		}
	})
}

var seeds = []string{
	`<a/>`,
	`<?xml version='1.0' encoding='utf-8' standalone='yes'?><!-- x --><a:b xmlns:a="u" a:c="&lt;"/>`,
	"\uFEFF<a>]] > &#13;\r\n\r<![CDATA[]]\r]]>&amp;<b xmlns=''>é</b></a>",
	`<a xmlns="u" xmlns:p="v"><p:b xmlns:p="w" p:c="" d=""><xml:e xml:lang=""/></p:b></a>`,
	`<m:a xmlns:m="urn:x" xmlns:s="http://www.w3.org/2000/09/xmldsig#" version="5.4"><m:b><m:c>AD1</m:c> <m:d/></m:b><s:e><s:f>x+/=</s:f></s:e></m:a>`,
	`<a 1b=""/>`,
	`<a><?pi?></a>`,
	`<!DOCTYPE a><a/>`,
	`<a></a><b/>`,
}

func TestAttribute(t *testing.T) {
	const doc = `<p:a xmlns:p="urn:x" b="1&amp;2" p:c = ' 3 ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="u v"><d b="4" e="5"/></p:a>`
	var s Scanner
	s.Init([]byte(doc), known)
	if s.Next() != StartElement || s.Attributes != 2 || !s.Started() {
		t.Fatalf("%d attributes, %v", s.Attributes, s.Err)
	}
	check := func(name, want string, there bool) {
		t.Helper()
		if value, ok := s.Attribute(name); string(value) != want || ok != there {
			t.Errorf("%s is %q, %t", name, value, ok)
		}
	}
	check("b", "1&2", true)
	check("p:c", " 3 ", true)
	check("c", "", false)
	check("xmlns:p", "urn:x", true)
	if s.Next() != StartElement || string(s.Local) != "d" || s.Attributes != 2 {
		t.Fatalf("%s with %d attributes, %v", s.Local, s.Attributes, s.Err)
	}
	check("b", "4", true)
	check("p:c", "", false)
	for _, want := range []Event{EndElement, EndElement, EOF} {
		if have := s.Next(); have != want {
			t.Errorf("event %d, want %d", have, want)
		}
	}
}

func TestFirstTag(t *testing.T) {
	for doc, want := range map[string]int{"": -1, "<": -1, "<a": 0, "<?x?><a>": 5, "<!-- <": -1, "< a<1<<b": 6, "</a>": -1} {
		if have := FirstTag([]byte(doc)); have != want {
			t.Errorf("%q: %d", doc, have)
		}
	}
}
