package screen

import (
	"fmt"
	"io"
	"strings"
)

// Table is a table that fits 80 columns. If its rows are wider, each has its first columns on a
// line, and the others beneath it, each with its name. So nothing is cut, and an id stays whole.
type Table struct {
	Heads []string
	// Main is how many columns are on the first line of a row that is divided; 0: as many as fit.
	Main int
	// Right says that the columns are aligned on the right.
	Right bool

	rows [][]string
}

// Row adds a row. "" and "-" say that there is no value. The values must be printable.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = fmt.Sprint(c); row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

const gap = "  " // between columns, and before a line that continues a row

// Print prints the table.
func (t *Table) Print(w io.Writer) error {
	widths := make([]int, len(t.Heads))
	for _, row := range append([][]string{t.Heads}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell))
		}
	}
	// The columns on the first line.
	first := fitting(widths)
	if first < len(widths) && t.Main > 0 {
		first = min(first, t.Main)
	}
	var b strings.Builder
	for i, row := range append([][]string{t.Heads}, t.rows...) {
		t.line(&b, row[:first], widths)
		if i > 0 {
			t.rest(&b, row, first)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fitting returns how many of the columns fit on one line.
func fitting(widths []int) int {
	used := -len(gap)
	for i, n := range widths {
		if used += len(gap) + n; used > Columns {
			return i
		}
	}
	return len(widths)
}

func (t *Table) line(b *strings.Builder, cells []string, widths []int) {
	if len(cells) == 0 {
		return
	}
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString(gap)
		}
		space := strings.Repeat(" ", widths[i]-width(cell))
		if t.Right {
			line.WriteString(space + cell)
		} else {
			line.WriteString(cell + space)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// rest writes the columns of a row that are not on its first line.
func (t *Table) rest(b *strings.Builder, row []string, first int) {
	line := ""
	flush := func() {
		if line != "" {
			b.WriteString(Wrap(line, gap) + "\n")
		}
		line = ""
	}
	for i := first; i < len(row); i++ {
		if row[i] == "-" {
			continue
		}
		name, _, _ := strings.Cut(t.Heads[i], " (")
		text := strings.ToLower(name) + " " + row[i]
		if line != "" && len(gap)+width(line)+len(gap)+width(text) > Columns {
			flush()
		}
		if line != "" {
			line += ", "
		}
		line += text
	}
	flush()
}
