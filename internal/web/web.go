package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/access"
	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/page"
	"quell/internal/role"
	"quell/internal/web/browse"
	"quell/internal/web/steer"
)

// Web serves the pages. Console is set before Register is called.
type Web struct {
	Console *console.Console

	endpoints guard.Endpoints
	templates map[string]*template.Template // by the name of the page
	assets    map[string]asset              // by path
	streams   atomic.Int64                  // that are open
}

// navigation has the pages that every page leads to.
var navigation = []link{
	{"Now", "/"},
	{"Explain", "/explain"},
	{"Activations", "/activations"},
	{"Suppression log", "/log"},
	{"Reports", "/reports"},
	{"Settings", "/settings"},
}

type link struct{ Name, To string }

// changes are the forms that change something, for the audit log.
var changes = map[string]guard.Change{
	"POST /reports/cut/confirmed":                {What: "report-cut", Recorded: true},
	"POST /reports/{no}/send/confirmed":          {What: "report-send", Recorded: true},
	"POST /reports/resume/confirmed":             {What: "reports", Recorded: true},
	"POST /settings/switch/confirmed":            {What: "switch", Recorded: true},
	"POST /explain/entry/{no}/release/confirmed": {What: "release", Recorded: true},
	"POST " + console.LoginPath:                  {What: "login"},
}

// Register adds the pages to the guard of the console.
func (p *Web) Register() {
	p.endpoints = p.Console.Guard.Endpoints(p.fail, changes)
	p.readTemplates()
	p.serveAssets()
	p.endpoints.Otherwise(func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, http.StatusNotFound, errors.New("no page has this address"))
	})
	p.loginPages()
	p.nowPages()
	browse.Add(p.Console, browse.Frame{Page: p.page, File: p.file})
	steer.Add(p.Console, steer.Frame{Page: p.page, Change: p.change, Upload: p.upload})
	p.explainPages()
}

//go:embed templates static
var files embed.FS

// readTemplates reads the templates, each page's together with those that all use.
func (p *Web) readTemplates() {
	p.assets, p.templates = readAssets(), map[string]*template.Template{}
	common := template.Must(template.New("").Funcs(functions).Funcs(template.FuncMap{
		"asset": func(name string) string { return name + "?v=" + p.assets[name].version },
	}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, _ := fs.Glob(files, "templates/*.html")
	for _, file := range names {
		if name := strings.TrimSuffix(path.Base(file), ".html"); name != "layout" && name != "parts" {
			p.templates[name] = template.Must(template.Must(common.Clone()).ParseFS(files, file))
		}
	}
}

// asset is a file that pages name: a browser keeps it until its address changes.
type asset struct {
	kind, version string
	text          []byte
}

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func readAssets() map[string]asset {
	assets := map[string]asset{}
	names, _ := fs.Glob(files, "static/*")
	for _, file := range names {
		text, _ := files.ReadFile(file)
		sum := sha256.Sum256(text)
		assets["/"+path.Base(file)] = asset{assetKinds[path.Ext(file)], hex.EncodeToString(sum[:6]), text}
	}
	return assets
}

func (p *Web) serveAssets() {
	for _, at := range slices.Sorted(maps.Keys(p.assets)) {
		a := p.assets[at]
		p.endpoints.Handle("GET "+at, role.Anyone, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", a.kind)
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Write(a.text)
		}, "v")
	}
}

// What a page's function returns: see package page.
type (
	view         = page.View
	seeOther     = page.SeeOther
	confirmation = page.Confirmation
	handler      = page.Handler
)

// page adds a page for those who have a role, the least one or above.
func (p *Web) page(pattern string, least role.Role, h handler, parameters ...string) {
	p.endpoints.Handle(pattern, least, func(w http.ResponseWriter, r *http.Request) { p.answer(w, r, h) }, parameters...)
}

// file adds an address that answers with a file. An error before the first byte becomes a page.
func (p *Web) file(pattern string, least role.Role, h func(http.ResponseWriter, *http.Request) error, parameters ...string) {
	p.endpoints.Handle(pattern, least, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			p.failWith(w, r, err)
		}
	}, parameters...)
}

// maxForm is how long a form that is sent may be.
const maxForm = 64 << 10

func (p *Web) answer(w http.ResponseWriter, r *http.Request, h handler) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			p.fail(w, r, http.StatusBadRequest, fmt.Errorf("the form cannot be read: %w", err))
			return
		}
	}
	p.respond(w, r, h)
}

// upload adds a page whose form sends files, of no more bytes together than most.
func (p *Web) upload(pattern string, least role.Role, most int64, h handler) {
	p.endpoints.HandleFiles(pattern, least, func(w http.ResponseWriter, r *http.Request) {
		defer page.Upload(w, r, most)()
		defer context.AfterFunc(p.Console.Draining(), func() {
			http.NewResponseController(w).SetReadDeadline(time.Now())
			r.Body.Close() // the listener would set another deadline before the next byte
		})()
		p.respond(w, r, h)
	})
}

func (p *Web) respond(w http.ResponseWriter, r *http.Request, h handler) {
	answer, err := h(r)
	switch v := answer.(type) {
	case view:
		if err == nil {
			p.show(w, r, v)
			return
		}
	case seeOther:
		if err == nil {
			http.Redirect(w, r, string(v), http.StatusSeeOther)
			return
		}
	}
	p.failWith(w, r, err)
}

// failWith answers with the page of an error, with the status that the API has for it.
func (p *Web) failWith(w http.ResponseWriter, r *http.Request, err error) {
	var bad badForm
	status := console.StatusOf(err)
	if errors.As(err, &bad) || page.IsBad(err) {
		status = http.StatusBadRequest
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		status, err = http.StatusRequestEntityTooLarge, fmt.Errorf("what was sent is larger than %d MiB, the most that is read here", large.Limit>>20)
	}
	if status >= 500 {
		p.Console.Log.Error("a page cannot be shown", "path", r.URL.Path, "error", err)
	}
	p.fail(w, r, status, err)
}

// badForm marks an error as a fault of what somebody entered: 400.
type badForm struct{ error }

// field is page.Text.
func field(r *http.Request, name, what string) (string, error) { return page.Text(r, name, what) }

// why returns the reason for a change.
func why(r *http.Request) (string, error) { return page.Why(r) }

// change adds a form that changes something. Its POST asks, with what ask returns; the POST to
// PATH/confirmed, which that page's button sends with the same fields, does it. changes has the
// word for PATH/confirmed.
func (p *Web) change(pattern string, least role.Role, ask func(*http.Request) (confirmation, error), do handler) {
	p.page("POST "+pattern, least, func(r *http.Request) (any, error) {
		c, err := ask(r)
		if err != nil {
			return nil, err
		}
		c.To = r.URL.Path + "/confirmed"
		for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
			c.Fields = append(c.Fields, page.Field{Name: name, Value: r.PostForm.Get(name)})
		}
		return view{Template: "confirm", Title: c.Title, Data: c}, nil
	})
	p.page("POST "+pattern+"/confirmed", least, do)
}

// frame is what the layout shows around a page.
type frame struct {
	Title      string
	Navigation []navigated
	Path       string // of the page, to come back to after a login
	Who        access.Identity
	LoginWay   bool // there is a way to log in
	LoggedIn   bool // and that is how Who came
	Switch     outage.Switch
	Version    string
	Data       any
}

type navigated struct {
	link
	Here bool
}

const securityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// show answers with a page.
func (p *Web) show(w http.ResponseWriter, r *http.Request, v view) {
	f := frame{Title: v.Title, Path: loginTarget(r), Who: guard.Caller(r), LoginWay: p.Console.Guard.Access.LoginPossible(),
		Switch: p.Console.Ledger.Switch(), Version: p.Console.Version, Data: v.Data}
	f.LoggedIn = f.Who.Session
	if f.Who.Role == role.Anyone {
		f.Switch, f.Version = "", ""
	}
	for _, l := range navigation {
		f.Navigation = append(f.Navigation, navigated{l, r.URL.Path == l.To || l.To != "/" && strings.HasPrefix(r.URL.Path, l.To+"/")})
	}
	var b bytes.Buffer
	if err := p.templates[v.Template].ExecuteTemplate(&b, "layout.html", f); err != nil {
		p.Console.Log.Error("a page cannot be made", "page", v.Template, "error", err)
		guard.Because(w, err)
		http.Error(w, "This page cannot be made: a fault of quell. The log has the reason.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", securityPolicy)
	// With no-referrer a form has the origin null: browsers that send no Sec-Fetch-Site, since they are old
	// or without TLS, could send none.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	w.Write(b.Bytes())
}

// failure is what the page of an error shows.
type failure struct {
	Status   int
	Text     string // the error, as a sentence
	Do       string // what to do
	Login    string // where to log in; "" if that is no help
	NoWay    bool   // it would be a help, but nobody can log in here
	Home     bool   // lead to the first page
	LoginErr bool   // it is the end of a login
	Link     bool   // and that was with a link
}

var failureTitles = map[int]string{
	http.StatusBadRequest:   "This cannot be read",
	http.StatusUnauthorized: "Log in first",
	http.StatusForbidden:    "Not allowed",
	http.StatusNotFound:     "Not found",
	http.StatusConflict:     "Not possible now",

	http.StatusRequestEntityTooLarge: "Too large",
	http.StatusTooManyRequests:       "Too many requests",
	http.StatusServiceUnavailable:    "Not available now",
}

// fail answers with the page of an error. It is a guard.Fail.
func (p *Web) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	guard.Because(w, err)
	f := failure{Status: status, Text: sentence(err.Error()), Home: guard.Caller(r).Role >= role.Viewer && r.URL.Path != "/"}
	if status == http.StatusUnauthorized || status == http.StatusForbidden && guard.Caller(r).Name == "" {
		if p.Console.Guard.Access.LoginPossible() {
			f.Login = "/login?" + url.Values{"to": {loginTarget(r)}}.Encode()
		} else {
			f.NoWay = true
		}
	}
	switch status {
	case http.StatusTooManyRequests:
		f.Do = "Wait some seconds, and load the page again."
	case http.StatusServiceUnavailable:
		f.Do = "Alerts pass all the same. Load the page again in a moment."
	}
	title, ok := failureTitles[status]
	if !ok {
		title = "This did not work"
	}
	p.show(w, r, view{Template: "error", Title: title, Data: f, Status: status})
}

// loginTarget is where to go after a login: the page that was asked for, unless that is a change,
// or a step of a login, whose address is a secret.
func loginTarget(r *http.Request) string {
	if r.Method != http.MethodGet || r.URL.Path == "/login" || r.URL.Path == console.LoginPath || r.URL.Path == "/callback" {
		return "/"
	}
	return r.URL.RequestURI()
}
