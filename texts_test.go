package quell_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// shown has the texts of the program: all its strings, and what it logs as a warning or an error.
type shown struct {
	all    string
	logged []string
}

func readShown(t *testing.T) (s shown) {
	t.Helper()
	var all strings.Builder
	for _, file := range files(t, ".go") {
		inside := strings.HasPrefix(file, "cmd/") || strings.HasPrefix(file, "internal/")
		// What to do about a condition is found by words of the condition: these are copies.
		if !inside || strings.HasSuffix(file, "_test.go") || strings.Contains(file, "test/") || file == "internal/overview/conditions.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr: // a long text is written in parts
				if text, ok := literal(n); ok {
					all.WriteString(text + "\x00")
				}
			case *ast.BasicLit:
				if text, ok := literal(n); ok {
					all.WriteString(text + "\x00")
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.SelectorExpr)
				if ok && (called.Sel.Name == "Warn" || called.Sel.Name == "Error") && len(n.Args) > 0 {
					if text, ok := literal(n.Args[0]); ok {
						s.logged = append(s.logged, text)
					}
				}
			}
			return true
		})
	}
	s.all = all.String()
	return s
}

// literal returns the text of a string, or of a sum of strings.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, e.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		left, ok1 := literal(e.X)
		right, ok2 := literal(e.Y)
		return left + right, ok1 && ok2 && e.Op == token.ADD
	}
	return "", false
}

// madeOf reports whether a text is made of at most three parts of the program's texts, as one with
// a name in it is.
func (s shown) madeOf(text string) bool {
	for range 3 {
		n := len(text)
		for n > 0 && !strings.Contains(s.all, text[:n]) {
			n--
		}
		if n == len(text) {
			return true
		}
		if n < 9 {
			return false
		}
		text = text[n:]
	}
	return false
}

var (
	// ofOthers are texts of the operating system, of SQLite and of PostgreSQL's driver.
	ofOthers = regexp.MustCompile(`^(address already in use|permission denied|database or disk is full|database is locked|SQLITE_BUSY|file is not a database|database disk image is malformed|failed to connect to)$`)
	// variable is what stands for another text, or may.
	variable = regexp.MustCompile(`…|\d+|\b[NMK]\b|[:;(] ?|\.\.\.`)
)

// TestTexts holds that docs/operations.md has each text of the log from a warning upward, and that the
// texts in its table are those of the program.
func TestTexts(t *testing.T) {
	s := readShown(t)
	doc, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok1 := strings.Cut(string(doc), "\n### All texts\n")
	table, _, ok2 := strings.Cut(table, "\n## ")
	if !ok1 || !ok2 || len(s.logged) < 50 {
		t.Fatalf("no table of texts, or too few texts are logged: %d", len(s.logged))
	}
	for _, text := range s.logged {
		// Its end may be left out.
		if begin, _, _ := strings.Cut(text, ";"); !strings.Contains(table, begin) {
			if begin, _, _ = strings.Cut(begin, ","); !strings.Contains(table, begin) {
				if begin, _, _ = strings.Cut(begin, ":"); !strings.Contains(table, begin) {
					t.Errorf("the log may say %q, which docs/operations.md does not have", text)
				}
			}
		}
	}
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(row, " | ")
		for _, m := range code.FindAllStringSubmatch(cell, -1) {
			if strings.HasPrefix(m[1], "quell ") || strings.HasPrefix(m[1], "cause=") {
				continue
			}
			for _, part := range variable.Split(m[1], -1) {
				if part = strings.Trim(part, ` ,.)"`); len(part) >= 8 && !ofOthers.MatchString(part) && !s.madeOf(part) {
					t.Errorf("docs/operations.md has %q, which quell does not show: %q", m[1], part)
				}
			}
		}
	}
}
