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

	"github.com/prometheus/client_golang/prometheus"
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
			a.Value = slog.StringValue(lines.Cut(s, maxLogValue))
		}
	case slog.KindAny:
		a.Value = slog.StringValue(lines.Cut(textOf(a.Value.Any()), maxLogValue))
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

// gauge registers a metric that is 1 or 0.
func gauge(r prometheus.Registerer, name, help string, labels prometheus.Labels, is func() bool) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: name, Help: help, ConstLabels: labels}, func() float64 {
		if is() {
			return 1
		}
		return 0
	}))
}

// countLines registers the metrics of what the log and the trail drop.
func (s *system) countLines(r prometheus.Registerer) {
	for output, dropped := range map[string]func() uint64{
		"log": func() uint64 {
			if q := s.logLines.Load(); q != nil {
				return q.Dropped()
			}
			return 0
		},
		"audit-trail": func() uint64 {
			if s.trail != nil {
				return s.trail.Dropped()
			}
			return 0
		},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "lines_dropped_total",
			Help:        "Lines that were dropped because they could not be written as fast as they came, by output.",
			ConstLabels: prometheus.Labels{"output": output}}, func() float64 { return float64(dropped()) }))
	}
}

// addConditions has the console say what is wrong with the outputs of this process,
// besides what it says already.
func (s *system) addConditions() {
	others := s.console.Conditions
	s.console.Conditions = func() (list []string) {
		if others != nil {
			list = others()
		}
		if s.running != nil && s.loader.loading() && s.store.Available() {
			list = append(list, "the files that the configuration names are being read: until they are, what was in force before counts")
		}
		list = append(list, s.lists.conditions()...)
		list = append(list, s.reports.Conditions()...)
		say := func(output, trouble string) {
			if trouble != "" {
				list = append(list, output+": "+trouble)
			}
		}
		if q := s.logLines.Load(); q != nil {
			say("the log", q.Trouble())
		}
		if s.trail != nil {
			say("the service audit trail", s.trail.Trouble())
		}
		return list
	}
}
