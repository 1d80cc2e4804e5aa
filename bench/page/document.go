// Package page writes what was measured: statistics, tables in a document, a drawing.
package page

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Document is a Markdown file with parts that the harness writes. Each is between two
// comments: <!-- bench:NAME --> and <!-- /bench:NAME -->. What is around them stays.
type Document struct {
	text string
	now  []string // the keys of the aims that this run measured
}

func ReadDocument(path string) (*Document, error) {
	text, err := os.ReadFile(path)
	return &Document{text: string(text)}, err
}

func (d *Document) Write(path string) error { return os.WriteFile(path, []byte(d.text), 0o644) }

// bounds returns where a part begins and ends.
func (d *Document) bounds(name string) (from, to int, err error) {
	begin, end := "<!-- bench:"+name+" -->\n", "<!-- /bench:"+name+" -->"
	from = strings.Index(d.text, begin)
	if from < 0 {
		return 0, 0, fmt.Errorf("the document has no part %s", name)
	}
	from += len(begin)
	to = strings.Index(d.text[from:], end)
	if to < 0 {
		return 0, 0, fmt.Errorf("the part %s of the document has no end", name)
	}
	return from, from + to, nil
}

// Set replaces a part. A document without the part stays as it is.
func (d *Document) Set(name, text string) {
	from, to, err := d.bounds(name)
	if err != nil {
		return
	}
	d.text = d.text[:from] + strings.TrimRight(text, "\n") + "\n" + d.text[to:]
}

const aimsHead = "| # | work | against | aim | measured | reached |\n| --- | --- | --- | --- | --- | --- |\n"

// Aim replaces a line of the table of aims, which is in the order of the keys.
func (d *Document) Aim(key, what, against, aim, measured string, reached bool) {
	d.now = append(d.now, key)
	from, to, err := d.bounds("aims")
	if err != nil {
		d.text += "<!-- bench:aims -->\n<!-- /bench:aims -->\n"
		from, to, _ = d.bounds("aims")
	}
	lines := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(d.text[from:to], aimsHead)) {
		if k, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok {
			lines[k] = line
		}
	}
	lines[key] = fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", key, what, against, aim, measured, map[bool]string{true: "yes", false: "**no**"}[reached])
	var keys []string
	for key := range lines {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	text := aimsHead
	for _, key := range keys {
		text += lines[key]
	}
	d.text = d.text[:from] + text + d.text[to:]
}

// Aims returns the lines of the table of aims that this run measured.
func (d *Document) Aims() string {
	from, to, err := d.bounds("aims")
	if err != nil || len(d.now) == 0 {
		return "no aim was measured\n"
	}
	text := aimsHead
	for line := range strings.Lines(strings.TrimPrefix(d.text[from:to], aimsHead)) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if slices.Contains(d.now, key) {
			text += line
		}
	}
	return text
}

// Table writes a Markdown table. The first line is its head.
func Table(lines ...[]string) string {
	var b strings.Builder
	for i, cells := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(cells)) + "|\n")
		}
	}
	return b.String()
}
