package channel

import (
	"context"
	"net"
	"net/http"
)

type connKey struct{}

// WithConn is for ConnContext of an http.Server whose handler is that of a Door. The
// connection is the one below TLS.
func WithConn(ctx context.Context, under net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, under)
}

// Handler lets only messages of clients in that the door admits.
func (d *Door) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verified, err := d.Admit(r.Context().Value(connKey{}).(net.Conn), r.TLS.PeerCertificates)
		if err != nil {
			w.Header().Set("Connection", "close") // with HTTP/2, net/http ends the connection after the messages under way
			http.Error(w, "quell: the certificate of this connection is not accepted any more", http.StatusForbidden)
			return
		}
		if verified != nil && !d.Need {
			// The console asks who the client is. The state is that of the connection, so
			// this message gets a copy.
			state := *r.TLS
			state.VerifiedChains = verified
			r = r.WithContext(r.Context())
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}
