package main

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/datadir"
	"quell/internal/devices"
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

// connect finds the quell that a configuration belongs to: the one that runs, or else its
// store, opened for one command. absent then says when a change takes effect; it is "" if a
// quell runs. Where there is no quell and no store, it creates a store if create says so;
// otherwise the error is store.ErrNone.
func connect(ctx context.Context, file string, e *env, create bool) (c *console.Client, absent string, done func() error, err error) {
	cfg, err := config.Load(file, e.environ)
	if err != nil {
		if file == "" {
			err = fmt.Errorf("which quell? Give --config FILE, or set QUELL_CONFIG (%w)", err)
		}
		return nil, "", nil, err
	}
	if c, err = consoleOf(&cfg); err != nil {
		return nil, "", nil, err
	}
	if _, err := c.Status(ctx); err == nil {
		return c, "", func() error { return nil }, nil
	} else if !errors.Is(err, console.ErrNotRunning) {
		return nil, "", nil, err
	}
	c, absent, done, err = openStore(ctx, cfg, e, true)
	if !create || !errors.Is(err, store.ErrNone) {
		return c, absent, done, err
	}
	c, absent, done, err = openStore(ctx, cfg, e, false)
	if err == nil && cfg.Database() == "" {
		fmt.Fprintf(e.stdout, "There was no store in %s yet. It has been created.\n", cfg.DataDir)
	}
	return c, absent, done, err
}

// openStore opens the store of a configuration for one command.
func openStore(ctx context.Context, cfg config.Config, e *env, existing bool) (c *console.Client, absent string, done func() error, err error) {
	s, err := server.OpenForCommand(ctx, server.Options{Config: cfg, Version: version(), Existing: existing,
		Log: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	switch {
	case errors.Is(err, datadir.ErrInUse):
		err = fmt.Errorf("%w, but its console does not answer at %s", err, cfg.Console.Listen)
	case errors.Is(err, store.ErrNone):
		err = fmt.Errorf("no quell runs at %s, and %w", cfg.Console.Listen, err)
	}
	if err != nil {
		return nil, "", nil, err
	}
	absent = "No quell is running; this takes effect at its next start."
	if cfg.Database() != "" {
		absent = "No quell answers at " + cfg.Console.Listen + "; this takes effect on the nodes of the database that run."
	}
	return &console.Client{Base: s.Console()}, absent, s.Close, nil
}

// consoleOf returns a client of the console of a configuration. With TLS it accepts only the
// certificate in the file that the configuration names.
func consoleOf(cfg *config.Config) (*console.Client, error) {
	if cfg.Console.TLS.Cert == "" {
		return &console.Client{Base: "http://" + cfg.Console.Listen}, nil
	}
	text, err := os.ReadFile(cfg.Console.TLS.Cert)
	block, _ := pem.Decode(text)
	if err == nil && block == nil {
		err = errors.New("has no certificate in PEM")
	}
	if err != nil {
		return nil, fmt.Errorf("console.tls.cert: %w", err)
	}
	return &console.Client{Base: "https://" + cfg.Console.Listen, Certificate: block.Bytes}, nil
}

// whoami returns the operator's name, for the record of what they change.
func whoami() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
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
	im, err := c.Import(ctx, kind, whoami(), files, how)
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
