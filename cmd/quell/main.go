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

// A command is one subcommand. Each has a file of its own. run gets the arguments after the
// name; its error is printed, and the exit status is 1.
type command struct {
	name  string
	usage string // the arguments
	short string // what it does, in one line
	run   func(ctx context.Context, e *env, args []string) error
}

func commands() []command {
	return []command{
		serveCommand, demoCommand, stubCommand, statusCommand, tailCommand, switchCommand, windowCommand, explainCommand, releaseCommand, adviseCommand, reportCommand, inventoryCommand, devicesCommand, auditCommand, tokenCommand, loginCommand, storeCommand, backupCommand, restoreCommand, replayCommand, simulateCommand, configCommand, versionCommand,
	}
}

// env is the environment of a command.
type env struct {
	stdout, stderr io.Writer
	environ        []string
	command        *command
	helped         func(more string, fs *flag.FlagSet) // for the man page: gets the help, in place of stdout
	reached        func(step string)                   // for tests of crashes: called at each step of a report
	logLimit       int                                 // for tests of the log: bytes that may wait; 0: see lines.OpenLog
	end            func()                              // called last; may be nil
	consoleURL     string                              // the flag --console
	tokenFile      string                              // the flag --token-file
	invalid        error                               // what is wrong with the configuration: see running
}

// errUsage is an error in the command line: exit status 2.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

// errExit is an error with an exit status of its own. Without an error in it, nothing is printed.
type errExit struct {
	error
	status int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	status := run(ctx, &env{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}, os.Args[1:])
	stop()
	os.Exit(status)
}

// run runs the command that the arguments name, and returns the exit status. That is not 0
// if standard output could not be written, for example because the disk is full.
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
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" && len(args) == 1 {
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
		var exit errExit
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &usage):
			fmt.Fprintf(e.stderr, "quell %s: %s\nusage: quell %s %s\n", c.name, printableLines(err.Error()), c.name, c.usage)
			return 2
		case errors.As(err, &exit) && exit.error == nil:
			return exit.status
		case errors.Is(err, context.Canceled) && err.Error() == context.Canceled.Error(): // and nothing else
			err = errors.New("interrupted")
		}
		fmt.Fprintf(e.stderr, "quell %s: %s\n", c.name, printableLines(err.Error()))
		return max(exit.status, 1)
	}
	fmt.Fprintf(e.stderr, "quell: there is no command %q; \"quell help\" lists them\n", args[0])
	return 2
}

func help(w io.Writer) {
	fmt.Fprintln(w, "quell stops the Power Outage Alerts (AD1) that firmware activations cause.\n\nCommands:")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprintln(w, "\n\"quell help COMMAND\" explains a command.")
}

// flags returns an empty set of flags for the command. Its help has the usage line, more,
// and the flags, with two hyphens as in all documents.
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
			if value != "" && f.DefValue != "" && f.DefValue != "0" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(e.stdout, "%s  %s\n      %s\n", title, strings.TrimSpace("--"+f.Name+" "+value), strings.ReplaceAll(usage, "\n", "\n      "))
			title = ""
		})
	}
	return fs
}

// parse parses flags wherever they are among the arguments, and returns the
// other arguments. It prints help if that is asked for; the error is flag.ErrHelp then.
func parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	help := fs.Usage
	fs.Usage = func() {} // package flag calls it for a wrong flag too
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				help()
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

// checkFlags refuses a flag that was given and that action does not take. only says of each
// flag that is for one action which one that is.
func checkFlags(fs *flag.FlagSet, action string, only map[string]string) (err error) {
	fs.Visit(func(f *flag.Flag) {
		if its := only[f.Name]; its != "" && its != action && err == nil {
			err = errUsage{fmt.Sprintf("--%s is for %q only", f.Name, its)}
		}
	})
	return err
}
