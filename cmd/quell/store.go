package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"quell/internal/config"
	"quell/internal/datadir"
	"quell/internal/screen"
	"quell/internal/storecopy"
)

var storeCommand = command{
	name: "store", usage: "copy --from sqlite:DIR --to postgres://... [--json]", short: "Copy a store on SQLite into a PostgreSQL database",
	run: runStore,
}

const storeHelp = `DIR is the data_dir of a quell on SQLite. The command copies the whole store into an empty
database, reads it back, and compares counts and sums of all rows. If it is interrupted, run
it again: it continues where it stopped, as long as no quell has used the database.

Run it first while quell runs: it copies most of the store. Then stop quell and run it again:
it copies what has changed since. A quell that is started on the database before the copy is
complete forwards every alert until it is.`

func runStore(ctx context.Context, e *env, args []string) error {
	fs := e.flags(storeHelp)
	from := fs.String("from", "", "copy this `STORE`: sqlite:DIR")
	to := fs.String("to", "", "into this `DATABASE`, postgres://...; a password comes from PGPASSWORD or PGPASSFILE")
	asJSON := fs.Bool("json", false, "print the tables as JSON")
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 || rest[0] != "copy" {
		return orUsage(err, "say what to do: copy")
	}
	dir, ok := strings.CutPrefix(*from, "sqlite:")
	if !ok || dir == "" {
		return errUsage{"say where from: --from sqlite:DIR"}
	}
	if strings.HasPrefix(dir, "~") { // no shell expands it after the colon
		return errUsage{"--from begins with ~, which is not replaced here: write the whole path"}
	}
	if filepath.Base(dir) == "quell.db" {
		dir = filepath.Dir(dir)
	}
	if !config.IsPostgres(*to) {
		return errUsage{"say where to: --to postgres://..."}
	}
	if hasPassword(*to) {
		return errUsage{"--to has a password, which others can see in the list of processes: put it into PGPASSWORD, or into a file that PGPASSFILE names"}
	}
	p := newProgress(e, "copying", 0, inRows)
	list, err := storecopy.Copy(ctx, dir, *to, slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelError})), p.set)
	p.end()
	switch {
	case errors.Is(err, datadir.ErrInUse):
		return fmt.Errorf("not complete: %w. What it has now is copied; stop it, and run this again", err)
	case err != nil:
		return err
	}
	if *asJSON {
		return printJSON(e.stdout, map[string]any{"tables": list})
	}
	w := screen.Table{Heads: []string{"TABLE", "ROWS", "SHA-256, THE SAME ON BOTH SIDES"}, Main: 2}
	for _, t := range list {
		w.Row(t.Table, t.Rows, t.SHA256)
	}
	w.Print(e.stdout)
	fmt.Fprintln(e.stdout, "The copy is complete. Set \"store\" in the configuration before you start quell again.")
	return nil
}

// hasPassword reports whether the address of a database has a password in it.
func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false // the address is refused
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password")
}
