package duis

import (
	"strings"
	"testing"
)

// prologParts are the parts of a document with an XML declaration: one part of each
// list, in this order, makes a document. The first part of each list is good. quell
// refuses a part that begins with "!" although xmllint accepts it: by choice or, for
// standalone without white space before it, because it is against the grammar.
var prologParts = [][]string{
	{`<?xml`, ``, "\uFEFF<?xml", `<?XML`, `!<?xm`, ` <?xml`, `<!-- x --><?xml`, `<?xml?>`, `<?xmlx`, `<?xml-`, `<?xml version="1.0"?><?xml`},
	{` version="1.0"`, ` version='1.0'`, "\t\r\nversion \n= '1.0'", ``, ` `, `version="1.0"`, ` version`, ` version=`, ` version="`, ` version=1.0`,
		` version="1.0'`, ` version=""`, ` version=" 1.0"`, ` version="1"`, ` version="1.0.0"`, ` version="1.a"`, ` Version="1.0"`, ` versio="1.0"`, ` versionx="1.0"`,
		` x:version="1.0"`, ` version="1.0" version="1.0"`, ` version=="1.0"`, ` version="1&#46;0"`, `! version="1.1"`, `! version="2.0"`, ` version "1.0"`},
	{``, ` encoding="UTF-8"`, ` encoding='utf-8'`, "\nencoding\t=\n\"Utf-8\"", ` encoding`, ` encoding=`, ` encoding="`, ` encoding=UTF-8`, ` encoding=""`, ` encoding=" UTF-8"`,
		` encoding="UTF-8 "`, ` encoding="UTF-8'`, ` encoding "UTF-8"`, ` encoding=="UTF-8"`, `encoding="UTF-8"`, ` Encoding="UTF-8"`, ` encodin="UTF-8"`, ` encodingx="UTF-8"`,
		` encoding="UTF-8" encoding="UTF-8"`, ` encoding="-UTF-8"`, ` encoding="8"`, `! encoding="UTF_8"`, ` encoding="UTF 8"`, ` encoding="UTF-8&#32;"`, ` encoding =`, ` encoding = `, ` =`, ` =""`,
		`! encoding="US-ASCII"`, `! encoding="ISO-8859-1"`, ` encoding?`, ` encoding=?`},
	{``, ` standalone="yes"`, ` standalone='no'`, "\rstandalone \t=\n'yes'", ` standalone`, ` standalone=`, ` standalone="`, ` standalone=yes`, ` standalone=""`, ` standalone="Yes"`,
		` standalone="yes "`, ` standalone="true"`, ` standalone="maybe"`, ` standalone="yes'`, ` standalone "yes"`, `!standalone="yes"`, ` Standalone="yes"`, ` standalon="yes"`,
		` standalonex="yes"`, ` standalone="yes" standalone="yes"`, ` standalone="yes" encoding="UTF-8"`, ` standalone?`, ` standalone=?`, ` x="y"`, ` ?`, ` "`, `"`, ` x`, `x`},
	{`?>`, ` ?>`, "\n\t?>", `>`, `/>`, `? >`, `??>`, ` ? ?>`, `?>?>`, `?>x`, `?>` + "\uFEFF", "?>\n<!-- x -->\n", `?><!-- x --><!---->`, `?><!--`, `?><!-- -- -->`, `?><![CDATA[ ]]>`, `?>&#32;`, ` -- ?>`, ``},
	{`<a/>`, "\n<a></a>\n", `<a/><!-- x -->`, `<a/>x`, `<a/><a/>`, `<a/><?xml version="1.0"?>`, `<a/><![CDATA[ ]]>`, `<a/>&#32;`, ``, ` `, `<!-- x -->`},
}

// TestProlog compares what Read accepts around the root with xmllint's verdict: each
// part with each part of the lists near it, and the other parts good.
func TestProlog(t *testing.T) {
	xmllint(t)
	var docs []string
	var narrow []bool
	seen := make(map[string]bool)
	add := func(parts []string) {
		doc, by := "", false
		for _, p := range parts {
			part, refused := strings.CutPrefix(p, "!")
			doc, by = doc+part, by || refused
		}
		if !seen[doc] {
			seen[doc] = true
			docs, narrow = append(docs, doc), append(narrow, by)
		}
	}
	for i := range prologParts {
		for j := max(0, i-2); j < i; j++ {
			parts := make([]string, len(prologParts))
			for k, list := range prologParts {
				parts[k] = list[0]
			}
			for _, parts[i] = range prologParts[i] {
				for _, parts[j] = range prologParts[j] {
					add(parts)
				}
			}
		}
	}
	accepted := 0
	for i, valid := range judge(t, "", docs) {
		want := valid && !narrow[i]
		if _, err := Read([]byte(docs[i])); (err == nil) != want {
			t.Errorf("%q: %v, want it accepted: %t, xmllint accepts it: %t", docs[i], err, want, valid)
		}
		if want {
			accepted++
		}
	}
	t.Logf("%d of %d accepted", accepted, len(docs))
	if accepted < 50 || accepted > len(docs)/2 {
		t.Errorf("%d of %d accepted", accepted, len(docs))
	}
}
