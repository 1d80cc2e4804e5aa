package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"quell/internal/lines"
	"quell/internal/server"
)

var serveCommand = command{
	name: "serve", usage: "[--config FILE]", short: "Run quell, until it gets SIGTERM or SIGINT",
	run: serve,
}

// logWait is how long the log waits for its reader when the process ends.
const logWait = 2 * time.Second

func serve(ctx context.Context, e *env, args []string) error {
	fs := e.flags("SIGHUP makes quell read the configuration again.")
	file := configFlag(fs, e.environ)
	if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
		return orUsage(err, "takes no arguments")
	}
	cfg, err := loadConfig(*file, e.environ, true)
	if err != nil {
		return invalid(*file, err)
	}
	log, queue := lines.OpenLog(e.stderr, e.logLimit, cfg.Log == "json")
	e.stderr = queue
	e.end = func() { queue.Close(logWait) } // there is nowhere to report an error
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before the start, which may take as long as an import
	defer signal.Stop(hangup)
	s, err := server.Start(ctx, server.Options{Config: cfg, Version: version(), Log: log, LogLines: queue, Reached: e.reached})
	if err != nil {
		return err
	}
	for {
		select {
		case <-hangup:
			s.ReopenTrail()
			changed, err := loadConfig(*file, e.environ, false)
			if err != nil {
				log.Error("the configuration is not valid, the one before stays in force", "error", err)
				continue
			}
			s.Reload(changed)
		case err := <-s.Failed():
			return errors.Join(err, s.Close())
		case <-ctx.Done():
			log.Info("stopping: messages under way are finished first")
			s.Drain()
			return s.Close()
		}
	}
}

func orUsage(err error, text string) error {
	if err != nil {
		return err
	}
	return errUsage{text}
}
