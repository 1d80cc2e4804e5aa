// Command quell keeps Power Outage Alerts that firmware activations cause from
// reaching network operators. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// A command is one subcommand, each in a file of its own. run gets the
// arguments behind its name; its error is printed, and makes the exit status 1.
type command struct {
	name  string
	usage string // arguments
	short string // one line
	run   func(ctx context.Context, e *env, args []string) error
}

func commands() []command {
	return []command{
		serveCommand, demoCommand, stubCommand, switchCommand, windowCommand, explainCommand, reportCommand, inventoryCommand, devicesCommand, storeCommand, configCommand, versionCommand,
	}
}

// env is what a command has of the world around it.
type env struct {
	stdout, stderr io.Writer
	environ        []string
	command        *command
	helped         func(more string, fs *flag.FlagSet) // for the man page: gets a command's help, in place of stdout
	reached        func(step string)                   // for tests of crashes: told the steps of reports
	logLimit       int                                 // for tests of the log: bytes that may wait; 0: the usual
	end            func()                              // called last, unless nil
}

// errUsage is an error of the command line: exit status 2.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	status := run(ctx, &env{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}, os.Args[1:])
	stop()
	os.Exit(status)
}

// run runs the command that the arguments name, and returns the exit status. What
// was not printed, since the disk is full, makes it 1.
func run(ctx context.Context, e *env, args []string) int {
	defer func() {
		if e.end != nil {
			e.end()
		}
	}()
	out := &outlet{Writer: e.stdout}
	e.stdout = out
	status := runCommand(ctx, e, args)
	if out.err != nil && status == 0 {
		fmt.Fprintf(e.stderr, "quell: standard output cannot be written: %v\n", out.err)
		return 1
	}
	return status
}

func runCommand(ctx context.Context, e *env, args []string) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" && len(args) == 1 {
		help(e.stdout)
		return 0
	}
	switch args[0] {
	case "help":
		args = []string{args[1], "-h"}
	case "--version", "-version":
		args = append([]string{versionCommand.name}, args[1:]...)
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		e.command = &c
		err := c.run(ctx, e, args[1:])
		var usage errUsage
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &usage):
			fmt.Fprintf(e.stderr, "quell %s: %v\nusage: quell %s %s\n", c.name, err, c.name, c.usage)
			return 2
		}
		fmt.Fprintf(e.stderr, "quell %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(e.stderr, "quell: there is no command %q; \"quell help\" lists them\n", args[0])
	return 2
}

func help(w io.Writer) {
	fmt.Fprintln(w, "quell stops the Power Outage Alerts (AD1) that firmware activations cause.\n\nCommands:")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprintln(w, "\n\"quell help COMMAND\" tells more.")
}

// flags makes the command's flag set; its help is the usage line, what more
// says, and the flags, with two hyphens as all documents write them.
func (e *env) flags(more string) *flag.FlagSet {
	fs := flag.NewFlagSet(e.command.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		if e.helped != nil {
			e.helped(more, fs)
			return
		}
		fmt.Fprintf(e.stdout, "usage: quell %s %s\n\n%s\n", e.command.name, e.command.usage, strings.TrimSpace(e.command.short+".\n"+more))
		title := "\nFlags:\n"
		fs.VisitAll(func(f *flag.Flag) {
			value, usage := flag.UnquoteUsage(f)
			fmt.Fprintf(e.stdout, "%s  %s\n      %s\n", title, strings.TrimSpace("--"+f.Name+" "+value), strings.ReplaceAll(usage, "\n", "\n      "))
			title = ""
		})
	}
	return fs
}

// parse parses flags wherever they are among the arguments, and returns the
// other arguments.
func parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, errUsage{err.Error()}
		}
		args = fs.Args()
		if len(args) == 0 {
			return rest, nil
		}
		rest = append(rest, args[0])
		args = args[1:]
	}
}
