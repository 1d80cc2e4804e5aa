package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/screen"
)

var devicesCommand = command{
	name: "devices", usage: "import FILE [--dry-run] [--force] | list [--json] | check ID... [--json] [--config FILE]", short: "Import, show or check the device list: the meters to track",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("FILE has one EUI-64 in each line; a header and # comments are allowed. It replaces the list in force.\n" +
			"A list that is empty, or lacks more than a fifth of the devices in force, is refused without --force.\n" +
			"An import may come before the first start: it creates the store.\n" +
			"check says for each device whether it is in the list and would be tracked. The exit status is 1 if one would not.")
		file := e.consoleFlags(fs)
		how := importFlags(fs)
		asJSON := fs.Bool("json", false, "list, check: print JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) == 0 {
			return orUsage(err, "say what to do: import, list or check")
		}
		action, ids := rest[0], rest[1:]
		if action != "import" && action != "list" && action != "check" || (action == "list") != (len(ids) == 0) || action == "import" && len(ids) != 1 {
			return errUsage{"say what to do: import FILE, list, or check ID..."}
		}
		if err := checkFlags(fs, action, importOnly); err != nil {
			return err
		}
		if action == "import" && *asJSON {
			return errUsage{`--json is for "list" and "check" only`}
		}
		if action == "import" {
			return runImport(ctx, e, *file, "devices", ids, *how)
		}
		c, _, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		if action == "list" {
			err = listDevices(ctx, e, c, *asJSON)
		} else {
			err = checkDevices(ctx, e, c, ids, *asJSON)
		}
		return firstOf(err, done())
	},
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func listDevices(ctx context.Context, e *env, c *operator.Client, asJSON bool) error {
	w := bufio.NewWriter(e.stdout)
	defer w.Flush()
	all := console.Devices{Devices: []outage.DeviceID{}} // for JSON, which is one document
	for after := ""; ; {
		page, err := c.Devices(ctx, after, 10_000)
		if err != nil {
			return err
		}
		if after == "" {
			if page.List.No == 0 {
				return errors.New("there is no device list")
			}
			if all.List = page.List; !asJSON {
				for _, text := range []string{fmt.Sprintf("%s from %s", plural(page.List.Rows, "device"), printable(page.List.Source)), "SHA-256 " + page.List.SHA256,
					fmt.Sprintf("since %s by %s", page.List.At.Format("2006-01-02 15:04:05Z"), printable(page.List.Who))} {
					fmt.Fprintln(w, screen.Wrap(text, "# "))
				}
			}
		}
		if asJSON {
			all.Devices, page.Devices = append(all.Devices, page.Devices...), nil
		}
		for _, id := range page.Devices {
			fmt.Fprintln(w, id)
		}
		if after = page.Next; after == "" {
			if asJSON {
				return printJSON(w, all)
			}
			return nil
		}
	}
}

func checkDevices(ctx context.Context, e *env, c *operator.Client, ids []string, asJSON bool) error {
	var missing int
	list := []console.DeviceStatus{}
	for _, text := range ids {
		id, err := outage.ParseAnyDeviceID(text)
		if err != nil {
			return fmt.Errorf("%q is %w", text, err)
		}
		d, err := c.Check(ctx, id)
		if err != nil {
			return err
		}
		listed, tracked := "listed", "tracked"
		if !d.Listed {
			listed = "not listed"
		}
		if !d.Tracked {
			tracked = "not tracked"
			missing++
		}
		if list = append(list, d); !asJSON {
			text := screen.Wrap(fmt.Sprintf("%s, %s: %s", listed, tracked, printable(d.Text)), strings.Repeat(" ", 25))
			fmt.Fprintf(e.stdout, "%s  %s\n", id, strings.TrimLeft(text, " "))
		}
	}
	if asJSON {
		if err := printJSON(e.stdout, map[string]any{"devices": list}); err != nil {
			return err
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d devices would not be tracked", missing, len(ids))
	}
	return nil
}
