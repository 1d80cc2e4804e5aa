package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"

	"quell/internal/config"
	"quell/internal/operator"
)

var loginCommand = command{
	name: "login", usage: "[--config FILE]", short: "Print a link with which a browser enters the console",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("It prints an address of the console. Who opens it in a browser within a minute, and presses \"Log in\", has a session with your\n" +
			"name and your role, for an hour at most. The link serves once. The code is after the \"#\", which browsers do not send; without\n" +
			"JavaScript, copy it into the page's field. Keep it to yourself: who has it first is you. The anonymous viewer of this machine\n" +
			"gets no link, and neither does a session in a browser.")
		file := e.consoleFlags(fs)
		if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
			return orUsage(err, "takes no arguments")
		}
		c, cfg, err := running(ctx, *file, e)
		if err := firstOf(err, e.invalid); err != nil { // the file says what the console's address is
			return err
		}
		base, err := browserURL(c, cfg)
		if err != nil {
			return err
		}
		link, err := c.LoginLink(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(e.stdout, base+link.Path+"#"+link.Code)
		fmt.Fprintf(e.stderr, "Open it in a browser until %s UTC. It serves once, as %s, with the role %s.\n", stamp(link.Expires), printable(link.Name), link.Role)
		return nil
	},
}

// browserURL returns the address of a console for browsers, without a path. It is never plain HTTP to
// another machine.
func browserURL(c *operator.Client, cfg *config.Config) (string, error) {
	base := c.Base
	if cfg != nil {
		network, err := consoleOf(cfg)
		if err != nil {
			return "", err
		}
		base = network.Base
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	ip, err := netip.ParseAddr(u.Hostname())
	isIP := err == nil
	if u.Hostname() == "" || isIP && ip.IsUnspecified() { // it listens on all addresses of this machine
		name := "localhost"
		if own, err := os.Hostname(); err == nil && u.Scheme == "https" {
			name = cmp.Or(own, name)
		}
		u.Host = net.JoinHostPort(name, u.Port())
	} else if u.Scheme != "https" && u.Hostname() != "localhost" && (!isIP || !ip.Unmap().IsLoopback()) {
		return "", errors.New("the console has no TLS at " + u.Host + ": others could read the link. Set console.tls")
	}
	return u.Scheme + "://" + u.Host, nil
}
