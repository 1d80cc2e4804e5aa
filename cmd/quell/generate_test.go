package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the man page, the completions, and into the scripts of TestScripts what the commands print now")

// TestGenerated compares the man page and the completions with the table of commands and
// their help. With -update it writes them.
func TestGenerated(t *testing.T) {
	pages := readPages(t)
	for name, text := range map[string]string{
		"quell.1":    manPage(t, pages),
		"quell.bash": bashCompletion(pages),
		"_quell":     zshCompletion(pages),
		"quell.fish": fishCompletion(pages),
	} {
		path := filepath.Join("..", "..", "deploy", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil || string(have) != text {
			t.Errorf("%s is stale (error %v): run make generate", path, err)
		}
	}
}

// page is the help of one command.
type page struct {
	command
	more  string
	flags []option
}

// option is one flag of a command.
type option struct {
	name     string
	value    string // what it takes; "" if nothing
	usage    string // one line
	standard string // the default, unless it is nothing
}

// readPages returns the help of every command.
func readPages(t *testing.T) (pages []page) {
	t.Helper()
	for _, c := range commands() {
		p := page{command: c}
		e := &env{stdout: io.Discard, stderr: io.Discard, helped: func(more string, fs *flag.FlagSet) {
			p.more = more
			fs.VisitAll(func(f *flag.Flag) {
				value, usage := flag.UnquoteUsage(f)
				o := option{name: f.Name, value: value, usage: strings.ReplaceAll(usage, "\n", " ")}
				if value != "" && f.DefValue != "0" {
					o.standard = f.DefValue
				}
				p.flags = append(p.flags, o)
			})
		}}
		if status := run(context.Background(), e, []string{c.name, "-h"}); status != 0 || p.flags == nil && p.more == "" {
			t.Fatalf("quell %s -h: status %d, help %q", c.name, status, p.more)
		}
		pages = append(pages, p)
	}
	return pages
}

// forms splits the usage of a command at each | outside of brackets.
func (p page) forms() (forms []string) {
	depth, start := 0, 0
	for i := range p.usage {
		switch {
		case p.usage[i] == '[':
			depth++
		case p.usage[i] == ']':
			depth--
		case depth == 0 && strings.HasPrefix(p.usage[i:], " | "):
			forms = append(forms, p.usage[start:i])
			start = i + 3
		}
	}
	return append(forms, p.usage[start:])
}

// words returns the first words of a command's forms that are typed as they are: "list", but
// not FILE.
func (p page) words() (words []string) {
	for _, form := range p.forms() {
		first, _, _ := strings.Cut(form, " ")
		for _, word := range strings.Split(strings.Trim(first, "[]"), "|") {
			if regexp.MustCompile(`^[a-z]+$`).MatchString(word) {
				words = append(words, word)
			}
		}
	}
	return words
}

// TestWords tests which words are read from the usage lines.
func TestWords(t *testing.T) {
	want := map[string]string{
		"serve": "", "explain": "", "switch": "on shadow off", "window": "list close", "report": "list show cut send resume verify export",
		"inventory": "import", "config": "check default", "devices": "import list check", "store": "copy",
	}
	for _, p := range readPages(t) {
		if w, ok := want[p.name]; ok && w != strings.Join(p.words(), " ") {
			t.Errorf("%s: %q, want %q", p.name, p.words(), w)
		}
	}
}

const madeBy = `made from the table of commands by "make generate"; do not edit`

// manPage returns the manual page, in the macros of man(7).
func manPage(t *testing.T, pages []page) string {
	t.Helper()
	var b, summary bytes.Buffer
	help(&summary)
	first, _, _ := strings.Cut(summary.String(), "\n")
	_, does, ok := strings.Cut(first, "quell ")
	if !ok {
		t.Fatalf("the help begins with %q", first)
	}
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	item := func(term, text string) { fmt.Fprintf(&b, ".TP\n%s\n%s\n", term, roff(text)) }
	fmt.Fprintf(&b, ".\\\" %s.\n.TH QUELL 1 \"\" quell \"User Commands\"\n", madeBy)
	section("NAME")
	fmt.Fprintf(&b, "quell \\- %s\n", roff(strings.TrimSuffix(does, ".")))
	section("SYNOPSIS")
	b.WriteString(".B quell\n.I COMMAND\n.RI [ ARGUMENT ...]\n")
	section("DESCRIPTION")
	fmt.Fprintf(&b, "%s\n.PP\nThe flags of a command may be written anywhere among its arguments, with one hyphen or two.\n", roff(first))
	section("COMMANDS")
	for _, p := range pages {
		fmt.Fprintf(&b, ".SS quell %s\n%s.\n.PP\n", p.name, roff(p.short))
		for i, form := range p.forms() {
			if i > 0 {
				b.WriteString(".br\n")
			}
			fmt.Fprintf(&b, ".B quell %s\n%s\n", p.name, roff(form))
		}
		for paragraph := range strings.SplitSeq(p.more, "\n\n") {
			switch {
			case paragraph == "":
			case strings.Contains(paragraph, "  "): // a table
				fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", roff(paragraph))
			default:
				fmt.Fprintf(&b, ".PP\n%s\n", roff(paragraph))
			}
		}
		for _, o := range p.flags {
			text := o.usage
			if o.standard != "" {
				text += " (default " + o.standard + ")"
			}
			term := ".B " + roff("--"+o.name)
			if o.value != "" {
				term = ".BI " + roff("--"+o.name) + ` " ` + roff(o.value) + `"`
			}
			item(term, text)
		}
	}
	section("ENVIRONMENT")
	item(".B QUELL_CONFIG", "the configuration file, if --config names none")
	item(".BI QUELL_ KEY", "the setting of that name, instead of the one in the file: QUELL_STORE_TIMEOUT is store_timeout")
	section("FILES")
	item(".I /etc/quell/quell.yaml", "the configuration that the service uses; \"quell config default\" explains every key")
	item(".I /etc/quell/env", "secret variables of the service, NAME=value; does not exist at first")
	item(".I /var/lib/quell", "the data folder of the service")
	section("EXIT STATUS")
	b.WriteString("0 for success, 2 for a wrong command line, 1 for anything else. That of quell status is above.\n")
	return b.String()
}

// roff escapes a text, so that nothing in it is read as a macro or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// names returns the names of the commands.
func names(pages []page) (names []string) {
	for _, p := range pages {
		names = append(names, p.name)
	}
	return names
}

func bashCompletion(pages []page) string {
	var b strings.Builder
	taking := map[string]bool{} // the flags that take a value
	fmt.Fprintf(&b, `# Completion for bash, %s.
_quell() {
	local words=""
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="%s help"
	else
		case ${COMP_WORDS[1]} in
		help) words="%[2]s" ;;
`, madeBy, strings.Join(names(pages), " "))
	for _, p := range pages {
		words := p.words()
		for _, o := range p.flags {
			words = append(words, "--"+o.name)
			if o.value != "" {
				taking["--"+o.name] = true
			}
		}
		fmt.Fprintf(&b, "\t\t%s) words=\"%s\" ;;\n", p.name, strings.Join(words, " "))
	}
	var values []string
	for name := range taking {
		values = append(values, name)
	}
	slices.Sort(values)
	fmt.Fprintf(&b, `		esac
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		%s) return ;; # a value: files are offered
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _quell quell
`, strings.Join(values, " | "))
	return b.String()
}

func zshCompletion(pages []page) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	colons := strings.NewReplacer(`\`, `\\`, ":", `\:`, "[", `\[`, "]", `\]`)
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef quell\n# Completion for zsh, %s.\nlocal -a commands\ncommands=(\n", madeBy)
	for _, p := range pages {
		fmt.Fprintf(&b, "\t%s\n", quote(p.name+":"+strings.ReplaceAll(p.short, ":", `\:`)))
	}
	b.WriteString(`)
if ((CURRENT == 2)); then
	_describe command commands
	return
fi
shift words
((CURRENT--))
case $words[1] in
help) _describe command commands ;;
`)
	for _, p := range pages {
		fmt.Fprintf(&b, "%s)\n\t_arguments", p.name)
		for _, o := range p.flags {
			spec := "--" + o.name
			if o.value != "" {
				spec += "="
			}
			spec += "[" + colons.Replace(o.usage) + "]"
			if o.value != "" {
				spec += ":" + colons.Replace(o.value) + ":_files"
			}
			b.WriteString(" \\\n\t\t" + quote(spec))
		}
		if words := p.words(); words != nil {
			b.WriteString(" \\\n\t\t" + quote("1:what to do:("+strings.Join(words, " ")+")"))
		}
		b.WriteString(" \\\n\t\t'*:file:_files'\n\t;;\n")
	}
	b.WriteString("esac\n")
	return b.String()
}

func fishCompletion(pages []page) string {
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" }
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion for fish, %s.\n", madeBy)
	for _, p := range pages {
		fmt.Fprintf(&b, "complete -c quell -n __fish_use_subcommand -f -a %s -d %s\n", p.name, quote(p.short))
	}
	fmt.Fprintf(&b, "complete -c quell -n '__fish_seen_subcommand_from help' -f -a %s\n", quote(strings.Join(names(pages), " ")))
	for _, p := range pages {
		this := quote("__fish_seen_subcommand_from " + p.name)
		if words := p.words(); words != nil {
			fmt.Fprintf(&b, "complete -c quell -n %s -a %s\n", this, quote(strings.Join(words, " ")))
		}
		for _, o := range p.flags {
			takes := ""
			if o.value != "" {
				takes = " -r"
			}
			fmt.Fprintf(&b, "complete -c quell -n %s -l %s%s -d %s\n", this, o.name, takes, quote(o.usage))
		}
	}
	return b.String()
}

// TestCompletion compares what bash offers.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	for _, c := range []struct{ line, want string }{
		{"", "serve demo stub status tail switch window explain release advise report inventory devices audit token login store backup restore replay simulate config version help"},
		{"re", "release report restore replay"},
		{"help win", "window"},
		{"window ", "list close --all --config --console --json --limit --supplier --token-file --why"},
		{"window list --su", "--supplier"},
		{"window list --config ", ""},
		{"switch o", "on off"},
		{"nonsense ", ""},
	} {
		script := `source ../../deploy/quell.bash; COMP_WORDS=(quell "$@"); COMP_CWORD=$#; _quell; echo "${COMPREPLY[*]}"`
		out, err := exec.Command(bash, append([]string{"-euc", script, "bash"}, strings.Split(c.line, " ")...)...).CombinedOutput()
		if have := strings.TrimSpace(string(out)); err != nil || have != c.want {
			t.Errorf("quell %s<Tab>: %v\n%s\nwant %s", c.line, err, have, c.want)
		}
	}
}
