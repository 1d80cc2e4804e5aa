package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// document is a Markdown file with parts that the harness writes. Each is between two
// comments: <!-- bench:NAME --> and <!-- /bench:NAME -->. What is around them stays.
type document struct {
	text string
	now  []string // the keys of the aims that this run measured
}

func readDocument(path string) (*document, error) {
	text, err := os.ReadFile(path)
	return &document{text: string(text)}, err
}

func (d *document) write(path string) error { return os.WriteFile(path, []byte(d.text), 0o644) }

// bounds returns where a part begins and ends.
func (d *document) bounds(name string) (from, to int, err error) {
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

// set replaces a part. A document without the part stays as it is.
func (d *document) set(name, text string) {
	from, to, err := d.bounds(name)
	if err != nil {
		return
	}
	d.text = d.text[:from] + strings.TrimRight(text, "\n") + "\n" + d.text[to:]
}

// aim is a line of the table of aims.
type aim struct {
	key, what, against, aim, measured string
	met                               bool
}

const aimsHead = "| # | work | against | aim | measured | reached |\n| --- | --- | --- | --- | --- | --- |\n"

// aim replaces a line of the table of aims, which is in the order of the keys.
func (d *document) aim(a aim) {
	d.now = append(d.now, a.key)
	from, to, err := d.bounds("aims")
	if err != nil {
		d.text += "<!-- bench:aims -->\n<!-- /bench:aims -->\n"
		from, to, _ = d.bounds("aims")
	}
	lines := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(d.text[from:to], aimsHead)) {
		if key, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok {
			lines[key] = line
		}
	}
	lines[a.key] = fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", a.key, a.what, a.against, a.aim, a.measured, map[bool]string{true: "yes", false: "**no**"}[a.met])
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

// aims returns the lines of the table of aims that this run measured.
func (d *document) aims() (string, error) {
	from, to, err := d.bounds("aims")
	if err != nil || len(d.now) == 0 {
		return "", errors.New("no aim was measured")
	}
	text := aimsHead
	for line := range strings.Lines(strings.TrimPrefix(d.text[from:to], aimsHead)) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if slices.Contains(d.now, key) {
			text += line
		}
	}
	return text, nil
}

// table writes a Markdown table. The first line is its head.
func table(lines ...[]string) string {
	var b strings.Builder
	for i, cells := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(cells)) + "|\n")
		}
	}
	return b.String()
}
