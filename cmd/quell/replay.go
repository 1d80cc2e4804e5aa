package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"quell/internal/config"
	"quell/internal/datadir"
	"quell/internal/outage"
	"quell/internal/replay"
)

var replayCommand = command{
	name: "replay", usage: "[--window D] [--list FILE] [--inventory FILE] [--switch S] [--evidence] [--from T] [--to T] [--csv FILE] [--svg FILE] FILE|DIR...",
	short: "Say what other settings would have done with recorded traffic",
	run:   runReplay,
}

const replayHelp = `FILE is a recording, as the setting "record" makes it; DIR is a folder of them. Those of several nodes
are put together. The messages go through the same code that decides in a running quell, with the
settings of then, or with those that are given here. Nothing is sent, and no store is opened.
It prints how many AD1s are suppressed and forwarded, by reason, distributor and model, and which
decisions are other than then. T is 2026-03-01 or 2026-03-01T10:00:00Z`

func runReplay(ctx context.Context, e *env, args []string) error {
	fs := e.flags(replayHelp)
	var o replay.Options
	var window config.Duration
	var from, to instant
	fs.Func("window", "the length of windows, such as 20m; else that of then. `D` is a duration", func(text string) error {
		if err := window.UnmarshalText([]byte(text)); err != nil || window > 0 {
			return err
		}
		return errors.New("must be more than 0") // 0 would be that of then
	})
	list := fs.String("list", "", "the device list in `FILE`, one EUI-64 a line; else that of then")
	inventory := fs.String("inventory", "", "the inventory in `FILE`; else what the inventory of then said of each meter")
	position := fs.String("switch", "", "the position `S` of the switch: on, shadow or off; else that of then")
	table := fs.String("csv", "", "write a line for each AD1 to `FILE`")
	chart := fs.String("svg", "", "write a chart of each minute to `FILE`")
	fs.BoolVar(&o.Evidence, "evidence", false, "say of which suppressed AD1s there is evidence that they were genuine. With --inventory, neighbours count")
	fs.Var(&from, "from", "count AD1s received at `T` or later. What was recorded before may still open windows")
	fs.Var(&to, "to", "count AD1s received before `T`")
	paths, err := parse(fs, args)
	if err != nil || len(paths) == 0 {
		return orUsage(err, "say which recordings to replay")
	}
	o.Window, o.Switch, o.From, o.To = time.Duration(window), outage.Switch(*position), from.Time, to.Time
	if *position != "" && !o.Switch.Valid() {
		return errUsage{"the switch must be on, shadow or off"}
	}
	if !to.IsZero() && !from.Before(to.Time) {
		return errUsage{fmt.Sprintf("--from %s is not before --to %s: there can be no AD1s", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))}
	}
	if *list != "" {
		if o.List, err = replay.ReadList(*list); err != nil {
			return err
		}
	}
	if *inventory != "" {
		if o.Inventory, err = replay.ReadInventory(*inventory); err != nil {
			return err
		}
	}
	progress := newProgress(e, "replaying", 0, inBytes)
	defer progress.end()
	sources, size, err := replay.Files(paths, progress.add)
	if err != nil {
		return err
	}
	progress.set(0, size)
	var result *replay.Result
	run := func(w io.Writer) error {
		t := replay.NewTable(w)
		o.Alert = t.Add
		result, err = replay.Run(ctx, sources, o)
		return firstOf(err, t.Flush())
	}
	if *table != "" {
		err = datadir.WriteWhole(*table, run)
	} else {
		result, err = replay.Run(ctx, sources, o)
	}
	if err != nil {
		return err
	}
	progress.end()
	if *chart != "" {
		if err := datadir.WriteWhole(*chart, result.WriteSVG); err != nil {
			return err
		}
	}
	for _, cut := range result.Cut {
		fmt.Fprintf(e.stderr, "quell replay: %s; what comes before counts\n", printable(cut.Error()))
	}
	var text strings.Builder
	if err := result.WriteText(&text); err != nil {
		return err
	}
	_, err = io.WriteString(e.stdout, printableLines(text.String())) // models are as the inventory has them
	return err
}
