// Package web is the console in a browser: pages that quell itself makes, with one style sheet,
// one small script and nothing from elsewhere. All works without the script.
//
// # How a page is added
//
// A page is a file of Go and a template. templates/NAME.html defines "main", which gets what the
// page's function returns in view.Data; layout.html puts the title, the one h1, the navigation and
// who is logged in around it. The page's file has a function that adds its addresses:
//
//	func (p *Web) explainPages() {
//		p.page("GET /explain", role.Viewer, p.showExplain)
//	}
//
// Register calls it, and navigation has the page's name, if it is to be there. A page's function
// returns a view, or seeOther to go elsewhere, or an error, which becomes a page with the status
// that the API has for it (console.StatusOf). It calls the same functions as the API, through
// Console, and asks the same of who is asking: guard.HideMPxN says whether MPxNs must be left out,
// and Guard.LookedUp comes before an answer that has one. In lists they are masked all the same
// (the template function mpxn).
//
// The pages of reports and of settings are in package steer: Add in steer/steer.go does for them what
// these functions do here. What a page's function gets and returns is in package page, so that both
// have it.
//
// No address has an MPxN: a form sends one by POST, and is answered with seeOther to the EUI-64 of
// the hub or the meter, or to the number of an entry.
//
// Pages that would make this package too large are in packages below it, with what they share in
// package page: browse has those that search, steer those that an operator steers quell with. Their
// templates and tests are here.
//
// # How a change is added
//
// change adds a form that changes something. Its POST shows what will happen, and asks; the
// button of that page sends the same fields to PATH/confirmed, which does it. Each change has
// a reason, in the field "why", and its word in the audit log. See release.go.
// upload adds a form that sends files.
//
// # How a page follows what happens
//
// A part of a page with data-live has the address of a stream (see stream in live.go), which sends
// the same part again whenever it has changed. The script puts in the sections of it that differ,
// by their data-part. What a stream shows is read once for all who look: see package overview.
//
// # What a template may use
//
// The functions are in text.go, the blocks that several pages use in templates/parts.html, and the
// classes in static/style.css, each with a comment. The Content-Security-Policy allows no style
// attributes and no script in the page; a chart is SVG with classes, from the values of package
// draw. Each chart has a table with the same numbers. Each table that is wider than a phone has the
// class "stack", and each of its cells data-label, the heading of its column.
package web
