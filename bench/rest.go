package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// atRest is row 4: how much larger the data folder is after many passed AD1s, when
// quell has stopped. The audit trail is counted apart: it holds the same number of
// files whatever passes.
func (h *harness) atRest() error {
	alerts := 200_000
	if h.quick {
		alerts = 20_000
	}
	n, err := h.startNode(setup{name: "quell-rest", devices: 1000})
	if err != nil {
		return err
	}
	if err := h.openWindows(n, 0, 1000); err != nil {
		return err
	}
	n.stop(syscall.SIGTERM)
	before, trailBefore, err := size(n.data())
	if err != nil {
		return err
	}
	if err := h.run(n); err != nil {
		return err
	}
	if err := n.ready(h.ctx); err != nil {
		return err
	}
	l := &loop{addrs: []string{n.addr}, senders: connections, messages: []*message{powerOutage(elsewhere, 1_000_000)}, from: h.numbers(int64(alerts)), total: alerts}
	if err := l.run(h.ctx); err != nil {
		return err
	}
	n.stop(syscall.SIGTERM)
	after, trailAfter, err := size(n.data())
	if err != nil {
		return err
	}
	each, trail := float64(after-before)/float64(alerts), float64(trailAfter-trailBefore)/float64(alerts)
	text := table(
		[]string{"bytes on the disk for each of " + thousands(int64(alerts)) + " passed AD1", ""},
		[]string{"the store and its files", number(each)},
		[]string{"the audit trail, whose oldest files are deleted", number(trail)})
	fmt.Print(text)
	h.doc.set("rest", text)
	h.restBytes = sample{each}
	h.doc.aim(aim{"4", "at rest for each passed AD1", "–", "at most 32 bytes", number(each), each <= 32})
	return nil
}

// size returns how many bytes the files in a data folder have: the audit trail, and all
// others.
func size(dir string) (store, trail int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if rel, _ := filepath.Rel(dir, path); strings.HasPrefix(rel, "audit") {
			trail += info.Size()
		} else {
			store += info.Size()
		}
		return nil
	})
	return store, trail, err
}
