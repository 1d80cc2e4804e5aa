package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/operator"
	"quell/internal/server"
)

// release is set by "make build". Other builds have the version of the module.
var release string

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

var versionCommand = command{
	name: "version", usage: "[--config FILE]", short: "Print the version, and which device list is built in and which is in force",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("")
		file := e.consoleFlags(fs)
		if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
			return orUsage(err, "takes no arguments")
		}
		fmt.Fprintf(e.stdout, "quell %s, %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		if _, size := devices.Builtin(); size > 0 {
			fmt.Fprintf(e.stdout, "device list built in: SHA-256 %s\n", server.DigestBuiltin())
		} else {
			fmt.Fprintln(e.stdout, "device list built in: none")
		}
		at := e.consoleURL
		if at == "" {
			cfg, err := config.Load(*file, e.environ)
			if err != nil {
				if *file == "" {
					fmt.Fprintln(e.stdout, "device list in force: unknown, since no configuration says which quell (--config FILE or QUELL_CONFIG)")
					return nil
				}
				return err
			}
			at = cfg.Console.Listen
		}
		if _, err := e.token(); err != nil {
			return err
		}
		var s console.Status
		c, _, err := running(ctx, *file, e)
		if err == nil {
			s, err = c.Status(ctx)
		}
		switch {
		case errors.Is(err, operator.ErrNotRunning):
			fmt.Fprintf(e.stdout, "device list in force: unknown, no quell answers at %s\n", at)
		case err != nil:
			fmt.Fprintf(e.stdout, "device list in force at %s: unknown, %s\n", at, printable(err.Error()))
		case s.DeviceList.No == 0:
			fmt.Fprintf(e.stdout, "device list in force at %s (quell %s): none\n", at, s.Version)
		default:
			fmt.Fprintf(e.stdout, "device list in force at %s (quell %s): %s from %s, SHA-256 %s\n",
				at, s.Version, plural(s.DeviceList.Rows, "device"), printable(s.DeviceList.Source), s.DeviceList.SHA256)
		}
		return nil
	},
}
