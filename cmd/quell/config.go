package main

import (
	"context"
	"errors"
	"fmt"

	"quell/internal/config"
	"quell/internal/remote"
	"quell/internal/server"
	"quell/internal/sqldb"
)

var configCommand = command{
	name: "config", usage: "check [FILE] [--config FILE] | default", short: "Check a configuration, or print the default one with its comments",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("check also reads the files that device_list, inventory and TLS settings name.\ndocs/config.md has all keys and environment variables, and says which of them a running quell takes over.")
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
				err = errors.Join(server.CheckChannels(&cfg), server.CheckLists(ctx, e.stdout, &cfg))
			}
			if err != nil {
				return invalid(*file, err)
			}
			fmt.Fprintln(e.stdout, "The configuration is valid.")
			return nil
		}
		return errUsage{"say check or default"}
	},
}

// invalid is the error for a configuration that is not valid.
func invalid(file string, err error) error {
	if file == "" {
		return fmt.Errorf("the configuration is not valid, and no file is named: give --config FILE, or set QUELL_CONFIG\n%w", err)
	}
	return fmt.Errorf("the configuration is not valid:\n%w", err)
}

// loadConfig is config.Load for commands that deliver reports. It also checks the targets
// of remotes, without connecting to them. If first is true, it loads the rclone
// configuration that the file names; later that stays the same.
func loadConfig(file string, environ []string, first bool) (config.Config, error) {
	cfg, err := config.Load(file, environ)
	if err != nil {
		return cfg, err
	}
	if first {
		err := remote.Configure(cfg.Report.RcloneConfig)
		if err != nil && cfg.Report.RcloneConfig == "" && len(cfg.Report.Remotes) == 0 {
			err = remote.Configure(remote.NoConfig) // ignore the user's own one, which nobody named
		}
		if err != nil {
			return cfg, fmt.Errorf("report.rclone_config: %w", err)
		}
	}
	var errs []error
	if database := cfg.Database(); database != "" { // otherwise PGHOST and the like are for another program
		if err := sqldb.CheckAddress(database); err != nil {
			errs = append(errs, fmt.Errorf("store: %w", err))
		}
	}
	for i, r := range cfg.Report.Remotes {
		if err := remote.CheckTarget(r.Target); err != nil {
			errs = append(errs, fmt.Errorf("report.remotes: item %d (%s): %w", i+1, r.Name, err))
		}
	}
	return cfg, errors.Join(errs...)
}
