package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// atRest is row 4: how much larger the data folder is after many passed AD1s, when
// quell has stopped. The audit trail is counted apart: it holds the same number of
// files whatever passes.
func (h *harness) atRest() error {
	const alerts = 200_000
	n, err := h.StartNode(rig.Setup{Name: "quell-rest", Devices: 1000})
	if err != nil {
		return err
	}
	if err := h.OpenWindows(n, 0, 1000); err != nil {
		return err
	}
	n.Stop(syscall.SIGTERM)
	before, trailBefore, err := size(n.Data())
	if err != nil {
		return err
	}
	if err := h.Run(n); err != nil {
		return err
	}
	if err := n.Ready(h.Ctx); err != nil {
		return err
	}
	l := &load.Loop{Addrs: []string{n.Addr}, Senders: load.Connections, Messages: []*load.Message{load.PowerOutage(load.Elsewhere, 1_000_000)}, From: h.Numbers(int64(alerts)), Total: alerts}
	if err := l.Run(h.Ctx); err != nil {
		return err
	}
	n.Stop(syscall.SIGTERM)
	after, trailAfter, err := size(n.Data())
	if err != nil {
		return err
	}
	each, trail := float64(after-before)/float64(alerts), float64(trailAfter-trailBefore)/float64(alerts)
	text := page.Table(
		[]string{"bytes on the disk for each of " + page.Thousands(int64(alerts)) + " passed AD1", ""},
		[]string{"the store and its files", page.Number(each)},
		[]string{"the audit trail, whose oldest files are deleted", page.Number(trail)})
	fmt.Print(text)
	h.set("rest", text)
	h.restBytes = page.Sample{each}
	h.doc.Aim("4", "at rest for each passed AD1", "–", "at most 32 bytes", page.Number(each), each <= 32)
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
