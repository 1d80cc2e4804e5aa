package main

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/datadir"
	"quell/internal/devices"
	"quell/internal/operator"
	"quell/internal/server"
	"quell/internal/store"
)

func configFlag(fs *flag.FlagSet, environ []string) *string {
	return fs.String("config", getenv(environ, "QUELL_CONFIG"), "the configuration `FILE`; without it, the one that the variable QUELL_CONFIG names")
}

func getenv(environ []string, name string) string {
	for _, e := range environ {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	return ""
}

// consoleFlags adds the flags of a command that talks to a quell, and returns the configuration
// file.
func (e *env) consoleFlags(fs *flag.FlagSet) *string {
	fs.StringVar(&e.consoleURL, "console", "", "the console's `URL`, such as https://quell.example:8443; needs a token.\nWithout it, the command uses the Unix socket of the quell on this machine")
	fs.StringVar(&e.tokenFile, "token-file", getenv(e.environ, "QUELL_TOKEN_FILE"), "a `FILE` with a token for the console; without it, the one that the variable QUELL_TOKEN_FILE names,\nor the token in the variable QUELL_TOKEN")
	return configFlag(fs, e.environ)
}

// token returns the token that a command is to use; "" if there is none.
func (e *env) token() (string, error) {
	if e.tokenFile == "" {
		return strings.TrimSpace(getenv(e.environ, "QUELL_TOKEN")), nil
	}
	f, err := os.Open(e.tokenFile)
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s is not the file of a token: it must have one line, the token", e.tokenFile)
	}
	return token, nil
}

// connect finds the quell that a configuration belongs to: the one that runs, or else its
// store, opened for one command. absent then says when a change takes effect; it is "" if a
// quell runs. Where there is no quell and no store, it creates a store if create says so;
// otherwise the error is store.ErrNone.
//
// A command that has a token, or the URL of a console, uses the network. Any other uses the Unix
// socket; if this user may not, it asks over loopback, where nobody can change anything.
func connect(ctx context.Context, file string, e *env, create bool) (c *operator.Client, absent string, done func() error, err error) {
	c, cfg, err := running(ctx, file, e)
	if err == nil {
		return c, "", func() error { return nil }, nil
	}
	if cfg == nil || c.Token != "" || !errors.Is(err, operator.ErrNotRunning) {
		return nil, "", nil, err
	}
	c, absent, done, err = openStore(ctx, *cfg, e, true)
	if !create || !errors.Is(err, store.ErrNone) {
		return c, absent, done, err
	}
	c, absent, done, err = openStore(ctx, *cfg, e, false)
	if err == nil && cfg.Database() == "" {
		fmt.Fprintf(e.stdout, "There was no store in %s yet. It has been created.\n", cfg.DataDir)
	}
	return c, absent, done, err
}

// running finds the quell that runs with a configuration, or at --console. The configuration is
// nil if it was not read. If it is not valid, but names the socket of a quell that runs, that one
// is asked, since nobody should have to mend a file before the switch can be turned off;
// e.invalid is then what is wrong. The error is operator.ErrNotRunning if there is no such quell.
func running(ctx context.Context, file string, e *env) (*operator.Client, *config.Config, error) {
	token, err := e.token()
	if err != nil {
		return nil, nil, err
	}
	if e.consoleURL != "" {
		c := &operator.Client{Base: strings.TrimSuffix(e.consoleURL, "/"), Token: token}
		_, err = c.Status(ctx)
		return c, nil, err
	}
	cfg, err := e.load(file)
	if err != nil {
		c := &operator.Client{Socket: config.SocketOf(file, e.environ)}
		if c.Socket == "" || token != "" {
			return nil, nil, err
		}
		if _, absent := c.Status(ctx); absent != nil {
			return nil, nil, err
		}
		if e.invalid == nil { // not each time that "status --watch" asks
			fmt.Fprintf(e.stderr, "Warning: the configuration is not valid. The quell at the socket %s is asked all the same:\n%s\n", c.Socket, printableLines(err.Error()))
		}
		e.invalid = err
		return c, nil, nil
	}
	e.invalid = nil // it was put right
	c, err := reach(ctx, &cfg, token)
	if c == nil {
		c = &operator.Client{Token: token}
	}
	return c, &cfg, err
}

// load reads the configuration of a command that is about one quell.
func (e *env) load(file string) (config.Config, error) {
	cfg, err := config.Load(file, e.environ)
	if err != nil && file == "" {
		err = fmt.Errorf("which quell? Give --config FILE, or set QUELL_CONFIG (%w)", err)
	}
	return cfg, err
}

// reach returns a client of the quell that runs with a configuration. The error is
// operator.ErrNotRunning if none does.
func reach(ctx context.Context, cfg *config.Config, token string) (*operator.Client, error) {
	if token != "" {
		network, err := consoleOf(cfg)
		if err == nil {
			network.Token = token
			_, err = network.Status(ctx)
		}
		return network, err
	}
	local := &operator.Client{Socket: cfg.SocketPath()}
	_, err := local.Status(ctx)
	if errors.Is(err, fs.ErrPermission) {
		if network, err := consoleOf(cfg); err == nil {
			if _, err := network.Status(ctx); err == nil {
				return network, nil
			}
		}
		return nil, fmt.Errorf("this user may not use the socket %s: %w", cfg.SocketPath(), fs.ErrPermission)
	}
	return local, err
}

// consoleOf returns a client of the console of a configuration, over the network. With TLS and
// without console.url, it accepts only the certificate in the file that the configuration names.
func consoleOf(cfg *config.Config) (*operator.Client, error) {
	switch {
	case cfg.Console.URL != "":
		return &operator.Client{Base: cfg.Console.URL}, nil
	case cfg.Console.TLS.Cert == "":
		return &operator.Client{Base: "http://" + cfg.Console.Listen}, nil
	}
	text, err := os.ReadFile(cfg.Console.TLS.Cert)
	block, _ := pem.Decode(text)
	if err == nil && block == nil {
		err = errors.New("has no certificate in PEM")
	}
	if err != nil {
		return nil, fmt.Errorf("console.tls.cert: %w", err)
	}
	return &operator.Client{Base: "https://" + cfg.Console.Listen, Certificate: block.Bytes}, nil
}

// openStore opens the store of a configuration for one command.
func openStore(ctx context.Context, cfg config.Config, e *env, existing bool) (c *operator.Client, absent string, done func() error, err error) {
	s, err := server.OpenForCommand(ctx, server.Options{Config: cfg, Version: version(), Existing: existing,
		Log: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	switch {
	case errors.Is(err, datadir.ErrInUse):
		err = fmt.Errorf("%w, but it does not answer at its socket %s", err, cfg.SocketPath())
	case errors.Is(err, store.ErrNone):
		err = fmt.Errorf("no quell runs with this configuration, and %w", err)
	}
	if err != nil {
		return nil, "", nil, err
	}
	absent = "No quell is running; this takes effect at its next start."
	if cfg.Database() != "" {
		absent = "No quell is running here; this takes effect on the nodes of the database that run."
	}
	return &operator.Client{Socket: s.Socket()}, absent, s.Close, nil
}

// runImport imports files as "inventory" or "devices", and shows how far it is if standard
// error is a terminal.
func runImport(ctx context.Context, e *env, configFile, kind string, names []string, how console.ImportOptions) error {
	var files []devices.File
	var total int64
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a folder", name)
		}
		total += info.Size()
		files = append(files, devices.File{Name: name, Reader: f})
	}
	c, absent, done, err := connect(ctx, configFile, e, !how.DryRun)
	if err != nil {
		return err
	}
	p := newProgress(e, "importing", total, inBytes)
	defer p.end()
	for i := range files {
		files[i].Reader = io.TeeReader(files[i].Reader, p)
	}
	im, err := c.Import(ctx, kind, files, how)
	if err := firstOf(err, done()); err != nil {
		return err
	}
	p.end()
	printImport(e.stdout, kind, im, absent)
	return nil
}

// importOnly are the flags of an import, for checkFlags.
var importOnly = map[string]string{"dry-run": "import", "force": "import"}

// importFlags are the flags of an import.
func importFlags(fs *flag.FlagSet) (how *console.ImportOptions) {
	how = &console.ImportOptions{}
	fs.BoolVar(&how.DryRun, "dry-run", false, "import: change nothing, and say what would change")
	fs.BoolVar(&how.Force, "force", false, "import: also import a list that has no devices, that removes more than a fifth of those in force,\nor that replaces the one that the configuration names")
	return how
}

// printImport prints what an import did, or what a dry run found.
func printImport(w io.Writer, kind string, im console.Imported, absent string) {
	if kind == "devices" {
		kind = "device list"
	}
	source := printable(im.Source)
	if im.Change != nil {
		fmt.Fprintf(w, "%s: %s in %s, SHA-256 %s\n", kind, plural(im.Rows, "device"), source, im.SHA256)
		if kind == "inventory" {
			fmt.Fprintf(w, "It would add %s and change %d.\n", plural(im.Change.Added, "device"), im.Change.Changed)
		} else {
			fmt.Fprintf(w, "In force: %s. It would add %d and remove %d.\n", plural(im.Change.Before, "device"), im.Change.Added, im.Change.Removed)
		}
		if im.Refused != "" {
			fmt.Fprintf(w, "It would be %s.\n", printable(im.Refused))
		}
		fmt.Fprintln(w, "Nothing was changed.")
		return
	}
	fmt.Fprintf(w, "%s: %s from %s, SHA-256 %s\n", kind, plural(im.Rows, "device"), source, im.SHA256)
	if im.Skipped > 0 {
		fmt.Fprintf(w, "%s: skipped %s, decommissioned or withdrawn\n", kind, plural(im.Skipped, "device"))
	}
	fmt.Fprintln(w, cmp.Or(absent, "In force on the running quell now."))
	if im.Others != nil && im.Others.Meters > 0 {
		fmt.Fprintf(w, "Warning: %s\n", im.Others)
	}
}
