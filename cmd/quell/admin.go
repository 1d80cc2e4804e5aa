package main

import (
	"cmp"
	"context"
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

// connect finds the quell that a configuration belongs to: the one that runs,
// or else its store, opened for the time of one command. absent then says what
// becomes of a change; it is "" if a quell runs.
func connect(ctx context.Context, file string, e *env) (c *console.Client, absent string, done func() error, err error) {
	cfg, err := config.Load(file, e.environ)
	if err != nil {
		if file == "" {
			err = fmt.Errorf("which quell? Give --config FILE, or set QUELL_CONFIG (%w)", err)
		}
		return nil, "", nil, err
	}
	c = &console.Client{Base: "http://" + cfg.Console.Listen}
	if _, err := c.Status(ctx); err == nil {
		return c, "", func() error { return nil }, nil
	} else if !errors.Is(err, console.ErrNotRunning) {
		return nil, "", nil, err
	}
	if _, err := os.Stat(cfg.DataDir); err != nil && cfg.Database() == "" {
		return nil, "", nil, fmt.Errorf("no quell runs at %s, and there is no data folder yet: %w", cfg.Console.Listen, err)
	}
	s, err := server.OpenForCommand(ctx, server.Options{Config: cfg, Version: version(), Log: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if errors.Is(err, datadir.ErrInUse) {
		err = fmt.Errorf("%w, but its console does not answer at %s", err, cfg.Console.Listen)
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

// whoami names the operator for the audit of what they change.
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

// importFiles imports files, and shows how far it is if standard error is a terminal.
func importFiles(ctx context.Context, e *env, c *console.Client, kind string, names []string, how console.How) (console.Imported, error) {
	var files []devices.File
	var total int64
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return console.Imported{}, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return console.Imported{}, err
		}
		if info.IsDir() {
			return console.Imported{}, fmt.Errorf("%s is a folder", name)
		}
		total += info.Size()
		files = append(files, devices.File{Name: name, Reader: f})
	}
	p := newProgress(e, "importing", total, inBytes)
	defer p.end()
	for i := range files {
		files[i].Reader = io.TeeReader(files[i].Reader, p)
	}
	return c.Import(ctx, kind, whoami(), files, how)
}

// importFlags are the flags of an import.
func importFlags(fs *flag.FlagSet) (how *console.How) {
	how = &console.How{}
	fs.BoolVar(&how.DryRun, "dry-run", false, "import: change nothing, and say what would change")
	fs.BoolVar(&how.Force, "force", false, "import: even a list that has no devices, that removes more than a fifth of those in force,\nor that replaces what the configuration names")
	return how
}

func sayImport(w io.Writer, kind string, im console.Imported, absent string) {
	if im.Change != nil {
		fmt.Fprintf(w, "%s: %s in %s, SHA-256 %s\n", kind, plural(im.Rows, "device"), im.Source, im.SHA256)
		if kind == "inventory" {
			fmt.Fprintf(w, "It would add %s and change %d.\n", plural(im.Change.Added, "device"), im.Change.Changed)
		} else {
			fmt.Fprintf(w, "In force: %s. It would add %d and remove %d.\n", plural(im.Change.Before, "device"), im.Change.Added, im.Change.Removed)
		}
		if im.Refused != "" {
			fmt.Fprintf(w, "It would be %s.\n", im.Refused)
		}
		fmt.Fprintln(w, "Nothing was changed.")
		return
	}
	fmt.Fprintf(w, "%s: %s from %s, SHA-256 %s\n", kind, plural(im.Rows, "device"), im.Source, im.SHA256)
	if im.Skipped > 0 {
		fmt.Fprintf(w, "%s: skipped %s, decommissioned or withdrawn\n", kind, plural(im.Skipped, "device"))
	}
	fmt.Fprintln(w, cmp.Or(absent, "In force on the running quell now."))
	if im.Others != nil && im.Others.Meters > 0 {
		fmt.Fprintf(w, "Look: %s\n", im.Others)
	}
}
