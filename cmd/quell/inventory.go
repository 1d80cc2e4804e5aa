package main

import (
	"context"
	"strings"

	"quell/internal/devices"
)

var inventoryCommand = command{
	name: "inventory", usage: "import [--dry-run] [--force] [--config FILE] FILE...", short: "Import the inventory: which devices there are",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("FILE is CSV with the columns " + strings.Join(devices.Columns, ",") + ", and\nperhaps " + strings.Join(devices.OptionalColumns, ", ") +
			"; or DUIS DSPInventory XML as Service Request 8.2 returns it. All files are imported, or none.\nKnown devices are replaced, all others stay. Devices that are decommissioned or withdrawn are skipped.\n" +
			"An import may come before the first start: it creates the store.")
		file := e.consoleFlags(fs)
		how := importFlags(fs)
		rest, err := parse(fs, args)
		if err != nil || len(rest) < 2 || rest[0] != "import" {
			return orUsage(err, "say what to import")
		}
		return runImport(ctx, e, *file, "inventory", rest[1:], *how)
	},
}
