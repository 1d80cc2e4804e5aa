package xmldsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quell/internal/duis"
	"quell/internal/smki"
)

// An attack is a document that somebody made of a signed one, without the key.
type attack struct {
	name     string
	document string
	same     bool // it is only another way to write the signed document, and verifies
}

// parts are those of a compact signed message.
type parts struct{ open, header, body, signature, end string }

func cut(t testing.TB, document string) parts {
	t.Helper()
	m := regexp.MustCompile(`(?s)^(.*?<sr:Re\w+ [^>]*>)(<sr:Header>.*</sr:Header>)(<sr:Body>.*</sr:Body>)(<ds:Signature .*</ds:Signature>)(</sr:\w+>)$`).FindStringSubmatch(document)
	if m == nil {
		t.Fatalf("not a signed message: %s", document)
	}
	return parts{m[1], m[2], m[3], m[4], m[5]}
}

func (p parts) String() string { return p.open + p.header + p.body + p.signature + p.end }

// element is a message as an element within another, and unsigned if that is wanted.
func (p parts) element(signed bool) string {
	if !signed {
		p.signature = ""
	}
	_, all, _ := strings.Cut(p.String(), "?>")
	return all
}

// evil is what the attacker would like to be read.
func (p parts) evil() parts {
	p.header = strings.Replace(p.header, "90-B3-D5-1F-30-01-00-07", "90-B3-D5-1F-30-01-00-08", 1)
	p.body = strings.NewReplacer("2027-02-01T1", "2027-02-01T0", "3000-12-31T00:00:00Z", "2027-02-01T10:00:00Z").Replace(p.body)
	return p
}

// places are where a second message, or a part of one, may be put into a message.
var places = []struct{ name, before string }{
	{"before the header", "<sr:Header>"},
	{"in the header", "</sr:Header>"},
	{"before the body", "<sr:Body>"},
	{"first in the body", "<sr:Body>!"},
	{"last in the body", "</sr:Body>"},
	{"before the signature", "<ds:Signature "},
	{"before SignedInfo", "<ds:SignedInfo>"},
	{"in SignedInfo", "<ds:SignedInfo>!"},
	{"before Reference", "<ds:Reference "},
	{"in Reference", "<ds:Transforms>"},
	{"in Transforms", "</ds:Transforms>"},
	{"after the digest", "</ds:Reference>"},
	{"in DigestValue", "</ds:DigestValue>"},
	{"last in SignedInfo", "</ds:SignedInfo>"},
	{"before SignatureValue", "<ds:SignatureValue>"},
	{"in SignatureValue", "</ds:SignatureValue>"},
	{"before KeyInfo", "<ds:KeyInfo>"},
	{"in KeyInfo", "<ds:KeyInfo>!"},
	{"in X509Data", "</ds:X509Data>"},
	{"last in KeyInfo", "</ds:KeyInfo>"},
	{"last in the signature", "</ds:Signature>"},
	{"after the signature", "</ds:Signature>!"},
}

// put puts text at a place. It returns "" if there is no such place.
func put(document, before, text string) string {
	tag, after := strings.CutSuffix(before, "!")
	i := strings.Index(document, tag)
	if i < 0 {
		return ""
	}
	if after {
		i += len(tag)
	}
	return document[:i] + text + document[i:]
}

// wrappings puts messages, and parts of them, into each other, in all places. The eight classical
// forms are among them: the root is the forged message, and the signed one is in it as a whole,
// or without its signature, which is then in the root; or the root is the signed message, and the
// forged one is in it. What is inside is a child of the root, or within the signature, an Object,
// an extension or an element that nobody knows.
func wrappings(p parts) (all []attack) {
	evil := p.evil()
	unsigned := evil
	unsigned.signature = ""
	detached := p
	detached.signature = ""
	outers := []struct {
		name string
		parts
	}{{"signed", p}, {"forged with its signature", evil}, {"forged, unsigned", unsigned}, {"its signature removed", detached}}
	inners := []struct{ name, text string }{
		{"signed", p.element(true)}, {"without signature", p.element(false)}, {"forged", evil.element(false)}, {"forged with its signature", evil.element(true)},
		{"the signature", p.signature}, {"the header", p.header}, {"the body", p.body}, {"a forged header", evil.header}, {"a forged body", evil.body},
	}
	for _, outer := range outers {
		for _, at := range places {
			for _, inner := range inners {
				for _, wrapped := range []string{"%s", "<x>%s</x>", "<ds:Object xmlns:ds='" + namespace + "'>%s</ds:Object>", "<sr:Extension>%s</sr:Extension>", "<!--%s-->", "<![CDATA[%s]]>"} {
					document := put(outer.String(), at.before, fmt.Sprintf(wrapped, inner.text))
					if document == "" {
						continue
					}
					same := outer.name == "signed" && strings.HasPrefix(wrapped, "<!--")
					// The original, put together again:
					same = same || outer.name == "its signature removed" && inner.name == "the signature" && wrapped == "%s" && document == p.String()
					all = append(all, attack{fmt.Sprintf("%s: %s %s as %s", outer.name, inner.name, at.name, wrapped), document, same})
				}
			}
		}
	}
	for _, root := range []string{"<x>%s</x>", "<sr:Request xmlns:sr='" + duis.Namespace + "' schemaVersion='5.4'>%s</sr:Request>",
		"<ds:Signature xmlns:ds='" + namespace + "'><ds:Object>%s</ds:Object></ds:Signature>"} {
		for _, inside := range []string{p.element(true), p.element(true) + evil.element(false), evil.element(false) + p.element(true), evil.element(false) + p.element(false) + p.signature} {
			all = append(all, attack{"in a wrapper " + root, fmt.Sprintf(root, inside), false})
		}
	}
	return append(all,
		attack{"two roots", p.String() + evil.element(false), false},
		attack{"two roots, the signed one last", evil.element(false) + p.element(true), false},
		attack{"after the root", p.element(false) + p.signature, false})
}

// substitute is an attack that replaces the first text that there is.
type substitute struct {
	name, old, new string
	same           bool
}

// rewritings are other ways to write the same document, and ways that look the same to some
// parsers but are not.
var rewritings = []substitute{
	// The same document.
	{"nothing", "<", "<", true},
	{"byte order mark", "<?xml", "\uFEFF<?xml", true},
	{"no XML declaration", `<?xml version="1.0" encoding="UTF-8" standalone="no"?>`, "", true},
	{"line ends around the root", `?><sr:`, "?>\r\n<!-- x -->\n<sr:", true},
	{"comment in a value", "<sr:RequestID>90-", "<sr:RequestID>9<!-- 8 -->0-", true},
	{"comment before a value", "<sr:CommandVariant>", "<sr:CommandVariant><!--4-->", true},
	{"CDATA in a value", "<sr:RequestID>90-B3", "<sr:RequestID><![CDATA[90]]>-B3", true},
	{"reference in a value", "<sr:RequestID>90-", "<sr:RequestID>&#57;&#x30;-", true},
	{"quotes and blanks", ` schemaVersion="5.4">`, "\n schemaVersion = '5.4' >", true},
	{"order of attributes", `xmlns:sr="` + duis.Namespace + `" schemaVersion="5.4"`, `schemaVersion="5.4" xmlns:sr="` + duis.Namespace + `"`, true},
	{"reference in an attribute", `schemaVersion="5.4"`, `schemaVersion="&#53;.4"`, true},
	{"declared again", "<sr:Header>", `<sr:Header xmlns:sr="` + duis.Namespace + `">`, true},
	{"blank in an end tag", "</sr:Header>", "</sr:Header\n>", true},
	{"white space between elements", "<sr:Header>", "\r\n\t<sr:Header>", true},
	{"white space as a reference", "</sr:Header>", "&#32;&#13;</sr:Header>", true},
	{"white space as CDATA", "</sr:Header>", "<![CDATA[ \r]]></sr:Header>", true},
	{"white space before the signature", "<ds:Signature ", "\n<ds:Signature ", true},
	{"white space after the signature", "</ds:Signature>", "</ds:Signature>\n", true},
	{"white space in the signature", "<ds:KeyInfo>", "\n<ds:KeyInfo>\n", true},
	{"white space in SignedInfo", "<ds:Reference ", "\n<ds:Reference ", true},
	{"line ends of SignatureValue", "&#13;\n", "\r\n", true},
	{"no line ends in SignatureValue", "&#13;\n", "", true},
	{"blanks in SignatureValue", "&#13;\n", " \t<!-- x --> ", true},
	{"reference in SignatureValue", "=</ds:SignatureValue>", "&#61;</ds:SignatureValue>", true},
	{"comment in DigestValue", "<ds:DigestValue>", "<ds:DigestValue><!--AAAA-->", true},
	{"CDATA in DigestValue", "=</ds:DigestValue>", "<![CDATA[=]]></ds:DigestValue>", true},
	{"comment in SignedInfo", "<ds:Reference ", "<!--<ds:Reference>--><ds:Reference ", true},
	{"unused namespace in SignedInfo", "<ds:SignedInfo>", `<ds:SignedInfo xmlns:x="urn:u">`, true},
	{"unused namespace in Signature", "<ds:Signature ", `<ds:Signature xmlns:x="urn:u" xmlns="urn:v" `, true},
	{"start and end tag", `xml-exc-c14n#"/>`, `xml-exc-c14n#"></ds:CanonicalizationMethod>`, true},
	{"reference in an algorithm", `Algorithm="http`, `Algorithm="&#104;ttp`, true},
	{"issuer in another order", "CN=Z9,OU=07", "OU=07, CN=Z9", true},
	{"issuer with an OID", "CN=Z9,OU=07", "2.5.4.3=#13025a39,OID.2.5.4.11=\"07\"", true},
	{"zeros before the serial number", "<ds:X509SerialNumber>", "<ds:X509SerialNumber> 00", true},
	{"Signature with another prefix outside SignedInfo", "<ds:KeyInfo>", `<ds:KeyInfo xmlns:ds="` + namespace + `">`, true},

	// Other documents.
	{"another value", "70001", "70002", false},
	{"a value split by a comment", "70001", "7<!-- -->00012", false},
	{"a value in CDATA as well", "70001", "70001<![CDATA[2]]>", false},
	{"blank in a value", "<sr:CommandVariant>", "<sr:CommandVariant> ", false},
	{"carriage return in a value", "<sr:CommandVariant>", "<sr:CommandVariant>&#13;", false},
	{"zero in a value", "<sr:CommandVariant>", "<sr:CommandVariant>0", false},
	{"text beside elements", "<sr:Header>", "x<sr:Header>", false},
	{"no-break space between elements", "<sr:Header>", "\u00a0<sr:Header>", false},
	{"another attribute", "<sr:Header>", `<sr:Header x="">`, false},
	{"xml:lang", "<sr:Body>", `<sr:Body xml:lang="en">`, false},
	{"xml:base", ` schemaVersion=`, ` xml:base="http://example.org/" schemaVersion=`, false},
	{"xml:space", "<sr:Header>", `<sr:Header xml:space="preserve">`, false},
	{"xml:id", "<sr:Header>", `<sr:Header xml:id="a">`, false},
	{"where a schema is", "<sr:Header>", `<sr:Header xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b">`, false},
	{"xsi:type", "<sr:Header>", `<sr:Header xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="a">`, false},
	{"attribute twice", ` schemaVersion="5.4"`, ` schemaVersion="5.4" schemaVersion="5.4"`, false},
	{"unused namespace", "<sr:Header>", `<sr:Header xmlns:x="u">`, false},
	{"relative namespace", "<sr:Header>", `<sr:Header xmlns:x="1">`, false},
	{"default namespace", "<sr:Header>", `<sr:Header xmlns="` + duis.Namespace + `">`, false},
	{"another namespace under the prefix", "<sr:Body>", `<sr:Body xmlns:sr="urn:x">`, false},
	{"namespace with a blank", duis.Namespace, duis.Namespace + "&#32;", false},
	{"namespace with a trailing slash", duis.Namespace, duis.Namespace + "/", false},
	{"namespace in other case", "ServiceUserGateway", "serviceUserGateway", false},
	{"namespace as a reference", "/ServiceUserGateway", "&#47;ServiceUserGateway", true},
	{"a version of XML that is not", `version="1.0"`, `version="1.1"`, false},
	{"another encoding", `encoding="UTF-8"`, `encoding="UTF-16"`, false},
	{"document type", "?><sr:", `?><!DOCTYPE x [<!ENTITY e "70001">]><sr:`, false},
	{"entity", "70001", "&e;", false},
	{"attribute by default", "?><sr:", `?><!DOCTYPE x [<!ATTLIST sr:Header Id ID "a">]><sr:`, false},
	{"processing instruction", "<sr:Header>", "<?x?><sr:Header>", false},
	{"overlong UTF-8", "70001", "7\xc0\xb0001", false},
	{"NUL", "70001", "70001\x00", false},
	{"reference to NUL", "70001", "70001&#0;", false},
	{"schemaVersion", `schemaVersion="5.4"`, `schemaVersion="5.40"`, false},

	// Other signatures.
	{"no Signature", "<ds:Signature ", "<ds:Signatur ", false},
	{"another namespace of the signature", `xmlns:ds="` + namespace, `xmlns:ds="` + namespace + "x", false},
	{"namespace of a later version", namespace, "http://www.w3.org/2009/xmldsig11#", false},
	{"namespace redefined in Signature", "<ds:SignedInfo>", `<ds:SignedInfo xmlns:ds="urn:x">`, false},
	{"namespace redefined in KeyInfo", "<ds:KeyInfo>", `<ds:KeyInfo xmlns:ds="urn:x">`, false},
	{"no SignedInfo", "<ds:SignedInfo>", "<ds:SignedInf>", false},
	{"Id of Signature", "<ds:Signature ", `<ds:Signature Id="a" `, false},
	{"Id of SignedInfo", "<ds:SignedInfo>", `<ds:SignedInfo Id="a">`, false},
	{"Id of Reference", "<ds:Reference ", `<ds:Reference Id="a" `, false},
	{"Type of Reference", "<ds:Reference ", `<ds:Reference Type="a" `, false},
	{"xml:lang of SignatureValue", "<ds:SignatureValue>", `<ds:SignatureValue xml:lang="en">`, false},
	{"where a schema is, in KeyInfo", "<ds:KeyInfo>", `<ds:KeyInfo xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b">`, false},
	{"fragment", `URI=""`, `URI="#a"`, false},
	{"fragment and Id", ` schemaVersion=`, ` Id="a" schemaVersion=`, false},
	{"fragment of doubled Ids", `<sr:Header>`, `<sr:Header Id="a"><sr:Body Id="a"/>`, false},
	{"root as a fragment", `URI=""`, `URI="#xpointer(/)"`, false},
	{"file", `URI=""`, `URI="file:///etc/passwd"`, false},
	{"address", `URI=""`, `URI="http://127.0.0.1/"`, false},
	{"no URI", ` URI=""`, "", false},
	{"blank URI", ` URI=""`, ` URI=" "`, false},
	{"no transforms", `<ds:Transforms><ds:Transform Algorithm="` + envelopedSignature + `"/></ds:Transforms>`, "", false},
	{"transform removed", `<ds:Transform Algorithm="` + envelopedSignature + `"/>`, "", false},
	{"transform twice", "</ds:Transforms>", `<ds:Transform Algorithm="` + envelopedSignature + `"/></ds:Transforms>`, false},
	{"transform injected", "</ds:Transforms>", `<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>false()</ds:XPath></ds:Transform></ds:Transforms>`, false},
	{"transform XSLT", envelopedSignature, "http://www.w3.org/TR/1999/REC-xslt-19991116", false},
	{"transform base64", envelopedSignature, namespace + "base64", false},
	{"transform with parameter", `enveloped-signature"/>`, `enveloped-signature"><x/></ds:Transform>`, false},
	{"transform C14N", "</ds:Transforms>", `<ds:Transform Algorithm="` + exclusiveC14N + `"/></ds:Transforms>`, false},
	{"inclusive C14N", exclusiveC14N, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", false},
	{"C14N with comments", exclusiveC14N, exclusiveC14N + "WithComments", false},
	{"PrefixList", `xml-exc-c14n#"/>`, `xml-exc-c14n#"><ec:InclusiveNamespaces xmlns:ec="` + exclusiveC14N + `" PrefixList="sr"/></ds:CanonicalizationMethod>`, false},
	{"no C14N", `<ds:CanonicalizationMethod Algorithm="` + exclusiveC14N + `"/>`, "", false},
	{"two algorithms", "<ds:CanonicalizationMethod ", `<ds:CanonicalizationMethod x:Algorithm="x" xmlns:x="u" `, false},
	{"ECDSA with SHA-1", ecdsaSHA256, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1", false},
	{"RSA", ecdsaSHA256, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", false},
	{"HMAC", ecdsaSHA256, namespace + "hmac-sha1", false},
	{"HMAC of no length", ecdsaSHA256 + `"/>`, namespace + `hmac-sha1"><ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>`, false},
	{"digest SHA-1", sha256Digest, namespace + "sha1", false},
	{"digest MD5", sha256Digest, "http://www.w3.org/2001/04/xmldsig-more#md5", false},
	{"algorithm in other case", "enveloped-signature", "Enveloped-signature", false},
	{"algorithm with a blank", exclusiveC14N, exclusiveC14N + " ", false},
	{"algorithm in a prefixed attribute", `<ds:DigestMethod Algorithm`, `<ds:DigestMethod ds:Algorithm`, false},
	{"digest twice", "</ds:Reference>", "<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>", false},
	{"digest emptied", "<ds:DigestValue>", "<ds:DigestValue/><ds:DigestValue>", false},
	{"element in DigestValue", "<ds:DigestValue>", "<ds:DigestValue><x/>", false},
	{"blank in DigestValue", "<ds:DigestValue>", "<ds:DigestValue>\n", false}, // no white space between elements
	{"two References", "</ds:SignedInfo>", `<ds:Reference URI=""/></ds:SignedInfo>`, false},
	{"two SignedInfos", "<ds:SignatureValue>", "<ds:SignedInfo/><ds:SignatureValue>", false},
	{"an empty SignedInfo first", "<ds:SignedInfo>", "<ds:SignedInfo/><ds:SignedInfo>", false},
	{"two SignatureValues", "<ds:KeyInfo>", "<ds:SignatureValue>AAAA</ds:SignatureValue><ds:KeyInfo>", false},
	{"two KeyInfos", "</ds:Signature>", "<ds:KeyInfo/></ds:Signature>", false},
	{"two serial numbers", "</ds:X509IssuerSerial>", "<ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial>", false},
	{"key in KeyInfo", "<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyName>x</ds:KeyName>", false},
	{"certificate in KeyInfo", "</ds:X509Data>", "<ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data>", false},
	{"text in Signature", "<ds:KeyInfo>", "x<ds:KeyInfo>", false},
	{"text in SignedInfo", "<ds:Reference ", "x<ds:Reference ", false},
	{"another serial number", "<ds:X509SerialNumber>", "<ds:X509SerialNumber>1", false},
	{"another issuer", "CN=Z9,OU=07", "CN=Z9,OU=08", false},
	{"issuer without a part", "CN=Z9,OU=07", "CN=Z9", false},
	{"white space in a method", `xml-exc-c14n#"/>`, `xml-exc-c14n#"> </ds:CanonicalizationMethod>`, false},
}

// rewrite returns the attacks of rewritings that there are on a document.
func rewrite(document string) (all []attack) {
	for _, s := range rewritings {
		if strings.Contains(document, s.old) {
			all = append(all, attack{s.name, strings.Replace(document, s.old, s.new, 1), s.same})
		}
	}
	return all
}

// digestGames are attacks on a forged message that also has the right digest for it somewhere.
func digestGames(p parts) (all []attack) {
	var r reader
	evil := p.evil()
	if err := r.read([]byte(evil.String())); err != nil {
		panic(err)
	}
	sums, _ := r.whole.digests()
	forged := base64.StdEncoding.EncodeToString(sums[0][:])
	signed := string(r.digest)
	value := func(text string) string { return "<ds:DigestValue>" + text + "</ds:DigestValue>" }
	for _, text := range []string{forged, forged + signed, signed + forged, "<!--" + signed + "-->" + forged, "<!--" + forged + "-->" + signed, forged + "<!--" + signed + "-->",
		"<![CDATA[" + forged + "]]>", signed + "<!---->" + forged, forged + "</ds:DigestValue><ds:DigestValue>" + signed, signed + "</ds:DigestValue><ds:DigestValue>" + forged,
		`<x xmlns="">` + signed + "</x>" + forged, forged + "&#13;"} {
		q := evil
		q.signature = strings.Replace(evil.signature, value(signed), value(text), 1)
		all = append(all, attack{"forged, with the digest " + text, q.String(), false})
	}
	info := regexp.MustCompile(`<ds:SignedInfo>.*</ds:SignedInfo>`).FindString(evil.signature)
	mine := strings.Replace(info, signed, forged, 1)
	for _, both := range []string{mine, info + mine, mine + info, "<x>" + info + "</x>" + mine, mine + "<ds:Object>" + info + "</ds:Object>",
		strings.Replace(mine, "<ds:Reference ", strings.Replace(info, "<ds:SignedInfo>", "", 1), 1), mine + "<!--" + info + "-->", "<!--" + info + "-->" + mine} {
		q := evil
		q.signature = strings.Replace(evil.signature, info, both, 1)
		all = append(all, attack{"forged, with a SignedInfo of its own", q.String(), false})
	}
	return all
}

// judge fails if an attack succeeds: it verifies, and is read as something else than what was
// signed. It returns whether it verifies.
func judge(t testing.TB, a attack, original duis.Message, certificates *smki.Certificates, want *smki.Certificate) bool {
	t.Helper()
	got, err := Verify([]byte(a.document), certificates, noon)
	if err != nil {
		if got != nil || !slices.ContainsFunc([]error{ErrMissing, ErrInvalid, ErrSignerUnknown, ErrUnreadable}, func(e error) bool { return errors.Is(err, e) }) {
			t.Errorf("%s: %v, %v", a.name, got, err)
		}
		return false
	}
	m, err := duis.Read([]byte(a.document))
	if err != nil || !reflect.DeepEqual(m, original) || got != want {
		t.Errorf("%s: it verifies, and is read as %+v, %v\nand not as %+v\n%s", a.name, m, err, original, a.document)
	}
	return true
}

// TestWrapping holds that no document that is made of a signed one verifies and says something else.
func TestWrapping(t *testing.T) {
	s := newSigner(t, supplier)
	certificates := known(t, s, newSigner(t, provider))
	accepted, refused := 0, 0
	tried := map[string]bool{}
	for kind, document := range unsigned() {
		signed := string(s.sign(t, document))
		original, err := duis.Read([]byte(signed))
		if err != nil {
			t.Fatal(err)
		}
		p := cut(t, signed)
		if m, err := duis.Read([]byte(p.evil().String())); err != nil || reflect.DeepEqual(m, original) {
			t.Fatalf("%s: the forged message is not another: %v", kind, err)
		}
		for _, a := range slices.Concat(wrappings(p), rewrite(signed), digestGames(p)) {
			tried[a.name] = true
			a.name = kind + ": " + a.name
			verifies := judge(t, a, original, certificates, s.certificate)
			if verifies != a.same {
				_, err := Verify([]byte(a.document), certificates, noon)
				t.Errorf("%s: verifies: %t (%v)\n%s", a.name, verifies, err, a.document)
			}
			if verifies {
				accepted++
			} else {
				refused++
			}
		}
	}
	for _, r := range rewritings {
		if !tried[r.name] {
			t.Errorf("%s: there was no document to try it on", r.name)
		}
	}
	t.Logf("%d verify and say the same, %d are refused", accepted, refused)
}

// TestMixedAttacks puts several attacks together by chance.
func TestMixedAttacks(t *testing.T) {
	s := newSigner(t, supplier)
	certificates := known(t, s)
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	random := rand.New(rand.NewPCG(16, 2))
	accepted := 0
	for _, document := range unsigned() {
		signed := string(s.sign(t, document))
		original, err := duis.Read([]byte(signed))
		if err != nil {
			t.Fatal(err)
		}
		for range n / 4 {
			a := attack{document: signed}
			for range 1 + random.IntN(4) {
				a.name, a.document = a.name+" + ", mutate(random, a.document)
			}
			if judge(t, a, original, certificates, s.certificate) {
				accepted++
			}
		}
	}
	t.Logf("of %d %d verify and say the same", n, accepted)
	if accepted < n/50 || accepted > n*9/10 {
		t.Errorf("of %d %d verify: the attacks prove little", n, accepted)
	}
}

// mutate changes a document in one place.
func mutate(random *rand.Rand, document string) string {
	switch random.IntN(8) {
	case 0, 1, 2:
		r := rewritings[random.IntN(len(rewritings))]
		return strings.Replace(document, r.old, r.new, 1)
	case 3: // a piece of it somewhere else
		from, to := random.IntN(len(document)+1), random.IntN(len(document)+1)
		if from > to {
			from, to = to, from
		}
		at := random.IntN(len(document) + 1)
		return document[:at] + document[from:to] + document[at:]
	case 4: // an element somewhere else
		elements := regexp.MustCompile(`(?s)<(\w+:\w+)[^>]*>[^<]*</(\w+:\w+)>`).FindAllStringIndex(document, -1)
		if len(elements) == 0 {
			return document
		}
		e, at := elements[random.IntN(len(elements))], gap(random, document)
		return document[:at] + document[e[0]:e[1]] + document[at:]
	case 5: // harmless things in a gap between tags and text
		harmless := []string{"<!-- x -->", " ", "\n", "\r\n", "&#13;", "<![CDATA[]]>", "<![CDATA[ ]]>"}
		at := gap(random, document)
		return document[:at] + harmless[random.IntN(len(harmless))] + document[at:]
	case 6: // a character as a reference
		at := random.IntN(len(document))
		return document[:at] + fmt.Sprintf("&#x%x;", document[at]) + document[at+1:]
	}
	at := random.IntN(len(document))
	return document[:at] + string("<>/&\"' \t\r\nxA0="[random.IntN(14)]) + document[at+1:]
}

// gap returns a place before or after a tag.
func gap(random *rand.Rand, document string) int {
	tags := regexp.MustCompile(`<[^>]*>`).FindAllStringIndex(document, -1)
	if len(tags) == 0 {
		return 0
	}
	return tags[random.IntN(len(tags))][random.IntN(2)]
}
