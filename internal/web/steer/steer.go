// Package steer has the pages of reports and of settings: those from which an operator steers quell.
// Their templates are with those of all pages, in package web.
package steer

import (
	"net/http"
	"sync"

	"quell/internal/console"
	"quell/internal/page"
	"quell/internal/role"
)

// Frame adds pages to the console; package web/doc.go says how each is used.
type Frame struct {
	Page   func(pattern string, least role.Role, h page.Handler, parameters ...string)
	Change func(pattern string, least role.Role, ask func(*http.Request) (page.Confirmation, error), do page.Handler)
	Upload func(pattern string, least role.Role, most int64, h page.Handler)
}

// pages are the pages of one console.
type pages struct {
	console   *console.Console
	verifying sync.Mutex // held while somebody has files verified
}

// Add adds the pages.
func Add(c *console.Console, f Frame) {
	p := &pages{console: c}
	p.addReports(f)
	p.addSettings(f)
}
