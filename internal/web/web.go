package web

import (
	"bytes"
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
	"unicode/utf8"

	"quell/internal/access"
	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/role"
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
}

type link struct{ Name, To string }

// changes are the forms that change something, for the audit log.
var changes = map[string]guard.Change{
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

// view is what a page shows.
type view struct {
	Template string // its name, without ".html"
	Title    string // also its heading
	Data     any
	Status   int // 200 if it is 0
}

// seeOther leads to another address of the console.
type seeOther string

// handler answers a request with a view or with seeOther. An error becomes a page.
type handler func(*http.Request) (any, error)

// page adds a page for those who have a role, the least one or above.
func (p *Web) page(pattern string, least role.Role, h handler, parameters ...string) {
	p.endpoints.Handle(pattern, least, func(w http.ResponseWriter, r *http.Request) { p.answer(w, r, h) }, parameters...)
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
	var bad badForm
	status := console.StatusOf(err)
	if errors.As(err, &bad) {
		status = http.StatusBadRequest
	}
	if status >= 500 {
		p.Console.Log.Error("a page cannot be shown", "path", r.URL.Path, "error", err)
	}
	p.fail(w, r, status, err)
}

// badForm marks an error as a fault of what somebody entered: 400.
type badForm struct{ error }

// field returns a field of a form, without blanks around it. The error says that it is missing.
func field(r *http.Request, name, what string) (string, error) {
	text := strings.TrimSpace(r.PostForm.Get(name))
	if text == "" || !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return "", badForm{errors.New(what)}
	}
	return text, nil
}

// why returns the reason for a change.
func why(r *http.Request) (string, error) { return field(r, "why", "give a reason") }

// confirmation is what a page asks before a change.
type confirmation struct {
	Title   string   // "Release entry 12"
	Will    []string // what will happen, in sentences
	Button  string   // "Release the alert"
	Back    string   // where to go without a change
	To      string   // set by change
	Fields  []formField
	Serious bool
}

type formField struct{ Name, Value string }

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
			c.Fields = append(c.Fields, formField{name, r.PostForm.Get(name)})
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
	h.Set("Referrer-Policy", "no-referrer")
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
	http.StatusBadRequest:         "This cannot be read",
	http.StatusUnauthorized:       "Log in first",
	http.StatusForbidden:          "Not allowed",
	http.StatusNotFound:           "Not found",
	http.StatusConflict:           "Not possible now",
	http.StatusTooManyRequests:    "Too many requests",
	http.StatusServiceUnavailable: "Not available now",
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
