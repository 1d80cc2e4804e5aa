package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// consoleFaults finds what is wrong with who may use the console.
func (c *Config) consoleFaults(check func(key string, err error)) {
	check("console.socket", checkPaths(c.Console.Socket))
	if c.Console.URL != "" {
		check("console.url", checkOrigin(c.Console.URL))
	}
	if o := c.Console.OIDC; o != nil {
		check("console.oidc", o.check())
		if c.Console.URL == "" {
			check("console.url", errors.New("is required with console.oidc: the provider leads back to it"))
		}
	}
	for name := range c.Console.ClientRoles {
		if !slices.ContainsFunc([]string{"CN=", "DNS:", "URI:"}, func(kind string) bool { return strings.HasPrefix(name, kind) && len(name) > len(kind) }) {
			check("console.client_roles", fmt.Errorf("%q is not a name such as CN=grafana, DNS:gw.example or URI:spiffe://example/gw", name))
		}
	}
}

// checkOrigin checks a URL of a whole host. Plain HTTP is for loopback only.
func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !isHost(u.Hostname()) || s != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is not a URL such as https://quell.example:8443, without a path", s)
	}
	return checkSecure(u)
}

func checkSecure(u *url.URL) error {
	if u.Scheme == "http" && !isLoopback(u.Hostname()+":1") && !isLoopback("["+u.Hostname()+"]:1") {
		return fmt.Errorf("%q must be https", u.String())
	}
	return nil
}

func (o *OIDC) check() error {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || !isHost(u.Hostname()) || strings.ContainsAny(o.Issuer, "?#"):
		return fmt.Errorf("issuer: %q is not a URL such as https://login.example/realm", o.Issuer)
	case checkSecure(u) != nil:
		return fmt.Errorf("issuer: %w", checkSecure(u))
	case checkNonEmpty(o.ClientID) != nil:
		return errors.New("client_id: must not be empty")
	case checkNonEmpty(o.ClientSecretFile) != nil:
		return errors.New("client_secret_file: must not be empty")
	case checkPaths(o.ClientSecretFile) != nil:
		return fmt.Errorf("client_secret_file: %w", checkPaths(o.ClientSecretFile))
	}
	n := 0
	for role, groups := range o.Roles.ByRole() {
		if checkNames(groups) != nil {
			return fmt.Errorf("roles: %s: %w", role, checkNames(groups))
		}
		n += len(groups)
	}
	if n == 0 {
		return errors.New("roles: needs a group for a role, or nobody could log in")
	}
	return nil
}
