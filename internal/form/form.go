// Package form says which HTTP requests are messages, by their heads.
package form

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// RefuseTunnel returns the status to refuse a request for a tunnel, through which
// anything could pass unseen; 0 if it is not one. A request that only offers another
// protocol is a message, and is forwarded without the offer: one with a body, or one
// that offers HTTP/2, as some clients always do.
func RefuseTunnel(r *http.Request) (status int, why string) {
	const text = ": quell forwards HTTP/1.1 messages, not tunnels"
	switch {
	case r.Method == http.MethodConnect:
		return http.StatusNotImplemented, "CONNECT" + text
	case r.Method == "PRI" || r.ProtoMajor != 1 && (r.ProtoMajor != 2 || r.TLS == nil):
		return http.StatusHTTPVersionNotSupported, r.Proto + text
	case r.ContentLength == 0 && slices.Contains(listItems(r.Header["Connection"]), "upgrade") && !offersHTTP(r.Header["Upgrade"]):
		return http.StatusNotImplemented, "Upgrade" + text
	}
	return 0, ""
}

// HasOneLength reports whether a message says its length at most once, and as a number. Of
// HTTP/2, net/http takes the first of several, and 0 for what is none. The body comes later,
// so an empty message would pass before that shows.
func HasOneLength(r *http.Request) bool {
	said := r.Header["Content-Length"]
	if r.ProtoMajor != 2 || len(said) == 0 {
		return true
	}
	_, err := strconv.ParseUint(said[0], 10, 63)
	return err == nil && len(said) == 1
}

// offersHTTP reports whether a sender offers to switch only to another version of HTTP
// or to TLS.
func offersHTTP(upgrade []string) bool {
	for _, offer := range listItems(upgrade) {
		if name, _, _ := strings.Cut(offer, "/"); name != "h2c" && name != "tls" && name != "http" {
			return false
		}
	}
	return true
}

// listItems returns the items of a list header in lower case.
func listItems(values []string) (list []string) {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.ToLower(strings.TrimSpace(item)); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}
