package main

import (
	"context"
	"fmt"

	"quell/internal/config"
)

var configCommand = command{
	name: "config", usage: "check [--config FILE] | default", short: "Check a configuration, or print the default one with its comments",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("check also reads the files that device_list and inventory name. Keys, environment variables and what a running quell takes over are in docs/config.md.")
		file := configFlag(fs, e.environ)
		rest, err := parse(fs, args)
		if err == nil && len(rest) == 2 && rest[0] == "check" {
			*file, rest = rest[1], rest[:1]
		}
		if err != nil || len(rest) != 1 {
			return orUsage(err, "say check or default")
		}
		switch rest[0] {
		case "default":
			fmt.Fprint(e.stdout, config.DefaultYAML())
			return nil
		case "check":
			cfg, err := loadConfig(*file, e.environ, true)
			if err == nil {
				err = checkLists(ctx, e.stdout, &cfg)
			}
			if err != nil {
				return fmt.Errorf("not valid:\n%w", err)
			}
			fmt.Fprintln(e.stdout, "The configuration is valid.")
			return nil
		}
		return errUsage{"say check or default"}
	},
}
