package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"time"

	"quell/internal/backup"
	"quell/internal/config"
	"quell/internal/datadir"

	"github.com/dustin/go-humanize"
)

var backupCommand = command{
	name: "backup", usage: "FILE [--config FILE]", short: "Back up the store, if it is SQLite, while quell runs",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("FILE is a new file, which only you can read. It gets the store as it is at one instant, and needs as much room. quell may run: no message\n" +
			"waits for this. The copy is checked before the command says that it is complete. Then move it to another machine.\n" +
			"Run it as quell's user or as root. A PostgreSQL database has tools of its own for this.")
		cfg, name, err := sqliteFlags(e, fs, args)
		if err != nil {
			return err
		}
		b, err := backup.Make(ctx, cfg.DataDir, name)
		if err != nil {
			return exists(err, name)
		}
		fmt.Fprintf(e.stdout, "The backup is complete: %s, %s.\nSHA-256 %s\n", printable(name), humanize.Bytes(uint64(b.Bytes)), b.SHA256)
		return nil
	},
}

// exists says that a file is there, if that is what went wrong.
func exists(err error, name string) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and is not overwritten", name)
	}
	return err
}

var restoreCommand = command{
	name: "restore", usage: "FILE [--keep-windows] [--config FILE]", short: "Put back a backup of the store, if it is SQLite",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("FILE is what \"quell backup\" has written. quell must be stopped. The database that is there gets another name, and stays.\n" +
			"All windows that are not over are closed: a cancellation may have come after the backup, and a window that should not be open\n" +
			"suppresses genuine alerts. Alerts of those meters go forward. The switch is as it was: look at it before you start quell.\n" +
			"docs/operations.md says what else a backup lacks, and what to do about it. Run it as quell's user or as root.")
		keep := fs.Bool("keep-windows", false, "leave the windows open: only if nothing came after the backup, since quell had been stopped before it")
		cfg, name, err := sqliteFlags(e, fs, args)
		if err != nil {
			return err
		}
		r, err := backup.Restore(ctx, backup.Options{File: name, Dir: cfg.DataDir, Now: time.Now(), KeepWindows: *keep, Who: userName(),
			Log: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
		switch {
		case errors.Is(err, datadir.ErrInUse):
			return fmt.Errorf("%w: stop it first", err)
		case err != nil && r.Before != "":
			return fmt.Errorf("not complete, run this again: %w. What was there is in %s", err, r.Before)
		case err != nil:
			return fmt.Errorf("nothing was changed: %w", err)
		}
		fmt.Fprintf(e.stdout, "The backup is in place: %s.\n", printable(name))
		if r.Before != "" {
			fmt.Fprintf(e.stdout, "The database that was there is %s.\n", printable(r.Before))
		}
		fmt.Fprintf(e.stdout, "The switch is %s, as in the backup. If it was changed since, set it before you start quell.\n", orNone(string(r.Switch)))
		if *keep {
			fmt.Fprintln(e.stdout, "The windows of the backup are as they were.")
		} else {
			fmt.Fprintf(e.stdout, "Windows closed: %d. Alerts of their hubs go forward until the next activation.\n", r.Closed)
		}
		if r.Journal {
			fmt.Fprintln(e.stdout, "The node's journal has records that the store had not taken. quell writes them into the store when it starts.")
		}
		return nil
	},
}

// sqliteFlags parses the arguments of a command about a file and a store in SQLite.
func sqliteFlags(e *env, fs *flag.FlagSet, args []string) (cfg config.Config, name string, err error) {
	file := configFlag(fs, e.environ)
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 {
		return cfg, "", orUsage(err, "needs one file")
	}
	if cfg, err = e.load(*file); err == nil && cfg.Database() != "" {
		err = errors.New("the store is a PostgreSQL database: use its own tools, as docs/operations.md says")
	}
	return cfg, rest[0], err
}

// userName returns who runs this command.
func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Geteuid())
}
