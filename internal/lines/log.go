package lines

import (
	"cmp"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"
)

const (
	logLimit = 8 << 20              // bytes of the log that may wait for its reader
	logRest  = 2 * time.Millisecond // after each write
	// WatchEvery is how often OpenLog looks whether standard error is read.
	WatchEvery = time.Second
	// MaxLogValue is how many bytes of a value the log has at most: texts in messages may be long.
	MaxLogValue = 2 << 10
)

// OpenLog opens the log of a process that passes messages. It writes to standard error through
// a queue of up to limit bytes (0: 8 MiB), so a reader that hangs or goes away stops nothing: as
// text, or as a JSON object a line.
// From now on everything that the process writes to standard error should go through the queue.
func OpenLog(stderr io.Writer, limit int, asJSON bool) (*slog.Logger, *Queue) {
	signal.Ignore(syscall.SIGPIPE) // otherwise a write to standard error without a reader ends the process
	var log *slog.Logger
	out, aside := ownStderr(stderr)
	queue := New(out, cmp.Or(limit, logLimit), logRest, func(err error, lost uint64) {
		// Do not log err: nobody would read it, and the log's own lock may be held.
		if err == nil && lost > 0 {
			log.Error("lines of the log were lost here", "lines", lost)
		}
	})
	opts := &slog.HandlerOptions{ReplaceAttr: cutValue}
	log = slog.New(slog.NewTextHandler(queue, opts))
	if asJSON {
		log = slog.New(slog.NewJSONHandler(queue, opts))
	}
	slog.SetDefault(log) // also for libraries that use package log
	if aside != nil {
		go setAside(queue, aside)
	}
	return log, queue
}

// setAside sets standard error aside while nobody reads it. Go's runtime writes the text of
// a panic there, and would otherwise wait for ever instead of ending the process.
func setAside(queue *Queue, aside func(bool)) {
	for was := false; ; time.Sleep(WatchEvery) {
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
		if s := a.Value.String(); len(s) > MaxLogValue {
			a.Value = slog.StringValue(Truncate(s, MaxLogValue))
		}
	case slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String()) // JSON would have nanoseconds
	case slog.KindAny:
		a.Value = slog.StringValue(Truncate(textOf(a.Value.Any()), MaxLogValue))
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
