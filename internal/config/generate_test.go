package config

import (
	"bytes"
	"encoding"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"quell/internal/outage"
)

var update = flag.Bool("update", false, "write docs/config.md and default.yaml")

// doc is what the comments of Config say about one key. A section has no value.
type doc struct {
	key      string
	meaning  string // paragraphs, each one line
	standard string // the default as the comment writes it; "" if the key is required
	value    *leaf
}

// TestGenerated compares docs/config.md and default.yaml with the comments of Config.
// With -update it writes them.
func TestGenerated(t *testing.T) {
	docs := readDocs(t)
	for _, f := range []struct {
		path string
		text string
	}{
		{"default.yaml", defaultFile(t, docs)},
		{"../../docs/config.md", reference(docs)},
	} {
		if *update {
			if err := os.WriteFile(f.path, []byte(f.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(f.path)
		if err != nil || string(have) != f.text {
			t.Errorf("%s is stale (error %v): run make generate", f.path, err)
		}
	}
}

// TestDefaultsDocumented compares the defaults in the comments with Default.
func TestDefaultsDocumented(t *testing.T) {
	for _, d := range readDocs(t) {
		if d.value == nil {
			continue
		}
		want := show(d.value.value)
		if strings.HasSuffix(d.key, ".next_hop") {
			want = "" // required
		}
		if d.standard != want {
			t.Errorf("%s: the comment says %q, Default %q", d.key, d.standard, want)
		}
	}
}

// readDocs reads the comments of Config in the order of the struct.
func readDocs(t *testing.T) []doc {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	values := map[string]leaf{}
	for _, l := range leaves(&c) {
		values[l.key] = l
	}
	var docs []doc
	var walk func(prefix string, s *ast.StructType)
	walk = func(prefix string, s *ast.StructType) {
		for _, f := range s.Fields.List {
			key := prefix + reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
			d := doc{key: key, meaning: strings.ReplaceAll(strings.TrimSpace(f.Doc.Text()), "\n", " ")}
			if sub, ok := f.Type.(*ast.StructType); ok {
				docs = append(docs, d)
				walk(key+".", sub)
				continue
			}
			l := values[key]
			d.value = &l
			var ok bool
			if d.meaning, d.standard, ok = strings.Cut(d.meaning, " Default: "); ok {
				d.standard = strings.TrimSuffix(d.standard, ".")
			} else if d.meaning, ok = strings.CutSuffix(d.meaning, " Required."); !ok {
				t.Fatalf("%s: its comment ends neither in a default nor in \"Required.\"", key)
			}
			docs = append(docs, d)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if ts, ok := n.(*ast.TypeSpec); ok && ts.Name.Name == "Config" {
			walk("", ts.Type.(*ast.StructType))
		}
		return true
	})
	if len(docs) < len(values) {
		t.Fatalf("%d comments for %d keys", len(docs), len(values))
	}
	return docs
}

// show returns a default in the form of the comments.
func show(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Slice && v.Len() == 0, v.Kind() == reflect.String && v.Len() == 0, v.Kind() == reflect.Map && v.Len() == 0, v.Kind() == reflect.Pointer && v.IsNil():
		return "empty"
	case v.Kind() == reflect.Slice:
		var items []string
		for i := range v.Len() {
			item := v.Index(i).String()
			if _, err := strconv.Atoi(item); err == nil {
				item = strconv.Quote(item) // otherwise it is a number in YAML
			}
			items = append(items, item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := m.MarshalText()
		return string(text)
	}
	return fmt.Sprint(v.Interface())
}

// defaultFile returns the text of default.yaml.
func defaultFile(t *testing.T, docs []doc) string {
	var b strings.Builder
	b.WriteString("# The configuration of quell: every key with its default. Only the two next_hop\n" +
		"# are required. docs/config.md explains all keys.\n")
	section := false // the line before starts a section
	for _, d := range docs {
		name, indent := d.key, ""
		if i := strings.LastIndexByte(d.key, '.'); i >= 0 {
			name, indent = d.key[i+1:], strings.Repeat("  ", strings.Count(d.key, "."))
		}
		if !section {
			b.WriteByte('\n')
		}
		section = d.value == nil
		for _, line := range wrap(d.meaning, 78-len(indent)) {
			b.WriteString(indent + "# " + line + "\n")
		}
		switch {
		case d.value == nil:
			b.WriteString(indent + name + ":\n")
		case d.standard == "":
			b.WriteString(indent + name + ": \"\" # required\n")
		default:
			b.WriteString(indent + name + ": " + literal(t, d.value.value) + "\n")
		}
	}
	return b.String()
}

// literal returns a value as YAML on one line.
func literal(t *testing.T, v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return "{}"
	}
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		t.Fatal(err)
	}
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	var b bytes.Buffer
	if err := yaml.NewEncoder(&b).Encode(&n); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// reference returns the text of docs/config.md.
func reference(docs []doc) string {
	var b strings.Builder
	b.WriteString(`# Configuration

Generated from the comments of Config in ` + "`internal/config/config.go` by `make generate`" + `; do not edit.

The configuration is a YAML file. Environment variables override it. Only the two next hops are required. ` + "`quell config default`" + `
prints a file with every default. ` + "`quell config check`" + ` says everything that is wrong with a file, line by line. Unknown keys are
refused. So are unknown environment variables that begin with QUELL_, except QUELL_CONFIG, which names the file, QUELL_TOKEN
and QUELL_TOKEN_FILE, which commands use, and QUELL_TEST_….

Durations have the units d (24 hours), h, m, s, ms, us and ns: 250ms, 90s, 30m, 7d, 1d12h. Sizes are written as 10MiB, 500kB or 65536.
In an environment variable, commas separate the items of a list. Write keys and values as YAML, and a list whose items have keys:
` + "`[{name: esi, target: \"esi:/inbound/poas\"}]`" + `. An empty variable makes its key empty.

On SIGHUP quell reads the file again. If the file has any fault, nothing changes. In the column SIGHUP, *live* means that quell adopts
the new value at once. *restart* means that the log names the key, and the change waits for a restart. *first value* is used only for
a new store. If several nodes share a PostgreSQL database, the values marked *same* must be equal on all nodes, and so must the
content of the device list. A difference is an error in the log, in ` + "`/readyz`" + ` and in ` + "`quell_settings_different`" + `.

| key | type | default | environment | SIGHUP | nodes |
| --- | --- | --- | --- | --- | --- |
`)
	reload := map[string]string{"live": "live", "restart": "restart", "first": "first value"}
	for _, d := range docs {
		if d.value == nil {
			continue
		}
		standard := d.standard
		if standard == "" {
			standard = "**required**"
		}
		same := ""
		if d.value.same {
			same = "same"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s |\n", d.key, typeName(d.value.value.Type()), standard, EnvName(d.key), reload[d.value.reload], same)
	}
	for _, d := range docs {
		if d.value == nil && !strings.Contains(d.key, ".") {
			fmt.Fprintf(&b, "\n## `%s`\n\n", d.key)
		} else if strings.Contains(d.key, ".") {
			fmt.Fprintf(&b, "\n### `%s`\n\n", d.key)
		} else {
			fmt.Fprintf(&b, "\n## `%s`\n\n", d.key)
		}
		b.WriteString(strings.Join(wrap(d.meaning, 120), "\n") + "\n")
	}
	return b.String()
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return "duration"
	case t == reflect.TypeFor[Size]():
		return "size"
	case t == reflect.TypeFor[outage.Switch]():
		return "on, shadow, off"
	case t.Kind() == reflect.Bool:
		return "true, false"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Int:
		return "number"
	case t.Kind() == reflect.Map, t.Kind() == reflect.Pointer:
		return "keys and values"
	}
	return "text"
}

func wrap(s string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
