package server

import (
	"quell/internal/console"
	"quell/internal/outage"
)

// neighbours returns the next hops and the remotes for the status. A URL of a next hop has no
// password: the configuration refuses one.
func (s *Server) neighbours() (hops []console.NextHop, remotes []console.Remote) {
	cfg := s.cfg.Load()
	south, north := s.gateway.NextHopsUp()
	hops = []console.NextHop{{Direction: outage.South, URL: cfg.Southbound.NextHop, Up: south}, {Direction: outage.North, URL: cfg.Northbound.NextHop, Up: north}}
	for _, r := range cfg.Report.Remotes {
		remotes = append(remotes, console.Remote{Name: r.Name, Stream: string(r.FilterOrDefault())})
	}
	return hops, remotes
}
