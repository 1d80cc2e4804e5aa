// Package browse has the pages that search what quell has done and will do: the suppression log, and
// the activations. Their templates are with those of all pages, in package web.
package browse

import (
	"net/http"

	"quell/internal/console"
	"quell/internal/page"
	"quell/internal/role"
)

// Frame adds pages to the console; package web/doc.go says how each is used.
type Frame struct {
	Page func(pattern string, least role.Role, h page.Handler, parameters ...string)
	// File adds an address that answers with a file. An error before the first byte becomes a page.
	File func(pattern string, least role.Role, h func(http.ResponseWriter, *http.Request) error, parameters ...string)
}

// pages are the pages of one console.
type pages struct{ console *console.Console }

// Add adds the pages.
func Add(c *console.Console, f Frame) {
	p := &pages{c}
	p.addLog(f)
	f.Page("GET /activations", role.Viewer, p.showCalendar, "supplier", "model")
	f.Page("GET /activations/windows", role.Viewer, p.showWindows, "of", "id", "from", "to")
	f.Page("GET /activations/meters", role.Viewer, p.showMeters, "from", "to", "supplier", "which", "after")
}
