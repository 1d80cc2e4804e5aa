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
	logWait     = 2 * time.Second // for its reader at the end
	watchEvery  = time.Second
	maxLogValue = 2 << 10 // bytes of a value: a message or an answer may hold longer ones
)

// openLog makes the log of a process that passes messages: on standard error,
// behind a queue, so that a reader that hangs or goes away stops nothing. All
// else that the process says there takes the same way from now on.
func (e *env) openLog() (*slog.Logger, *lines.Queue) {
	signal.Ignore(syscall.SIGPIPE) // else a write to a standard error without a reader ends the process
	var log *slog.Logger
	out, aside := ownStderr(e.stderr)
	queue := lines.New(out, cmp.Or(e.logLimit, logLimit), func(err error, lost uint64) {
		// An error nobody would read; and it may come with the log's own lock held.
		if err == nil && lost > 0 {
			log.Error("lines of the log were lost here", "lines", lost)
		}
	})
	log = slog.New(slog.NewTextHandler(queue, &slog.HandlerOptions{ReplaceAttr: cutValue}))
	slog.SetDefault(log) // and what libraries say by package log
	if aside != nil {
		go setAside(queue, aside)
	}
	e.stderr = queue
	e.end = func() { queue.Close(logWait) } // nobody could be told of an error
	return log, queue
}

// setAside sets standard error aside for as long as nobody takes what is written
// there: Go's runtime writes to it what a panic says, and would wait for ever
// instead of ending the process.
func setAside(queue *lines.Queue, aside func(bool)) {
	for was := false; ; time.Sleep(watchEvery) {
		if now := queue.Stuck(); now != was {
			aside(now)
			was = now
		}
	}
}

// cutValue bounds a value of the log.
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

// textOf gives a value as slog.TextHandler does.
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
