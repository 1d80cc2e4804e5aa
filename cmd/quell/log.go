package main

import (
	"cmp"
	"encoding"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"quell/internal/lines"
)

const (
	logLimit    = 8 << 20         // bytes of the log that may wait for its reader
	logWait     = 2 * time.Second // for the reader, when the process ends
	watchEvery  = time.Second
	maxLogValue = 2 << 10 // bytes of a value, after which it is cut: texts in messages may be long
)

// openLog opens the log of a process that passes messages. It writes to standard error
// through a queue, so a reader that hangs or goes away stops nothing. From now on
// everything that the process writes to standard error goes through the queue.
func (e *env) openLog() (*slog.Logger, *lines.Queue) {
	signal.Ignore(syscall.SIGPIPE) // otherwise a write to standard error without a reader ends the process
	var log *slog.Logger
	out, aside := ownStderr(e.stderr)
	queue := lines.New(out, cmp.Or(e.logLimit, logLimit), func(err error, lost uint64) {
		// Do not log err: nobody would read it, and the log's own lock may be held.
		if err == nil && lost > 0 {
			log.Error("lines of the log were lost here", "lines", lost)
		}
	})
	log = slog.New(slog.NewTextHandler(queue, &slog.HandlerOptions{ReplaceAttr: cutValue}))
	slog.SetDefault(log) // also for libraries that use package log
	if aside != nil {
		go setAside(queue, aside)
	}
	e.stderr = queue
	e.end = func() { queue.Close(logWait) } // there is nowhere to report an error
	return log, queue
}

// setAside sets standard error aside while nobody reads it. Go's runtime writes the text of
// a panic there, and would otherwise wait for ever instead of ending the process.
func setAside(queue *lines.Queue, aside func(bool)) {
	for was := false; ; time.Sleep(watchEvery) {
		if now := queue.Stuck(); now != was {
			aside(now)
			was = now
		}
	}
}

// cutValue cuts a value of the log that is too long.
func cutValue(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); len(s) > maxLogValue {
			a.Value = slog.StringValue(lines.Truncate(s, maxLogValue))
		}
	case slog.KindAny:
		a.Value = slog.StringValue(lines.Truncate(textOf(a.Value.Any()), maxLogValue))
	}
	return a
}

// textOf returns the text of a value as slog.TextHandler writes it.
func textOf(v any) string {
	switch v := v.(type) {
	case encoding.TextMarshaler:
		if text, err := v.MarshalText(); err == nil {
			return string(text)
		}
	case []byte:
		return string(v)
	}
	return fmt.Sprintf("%+v", v)
}
