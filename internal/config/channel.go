package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	"quell/internal/channel"
)

// channelFaults finds what is wrong with TLS, and what would pass in clear.
func (c *Config) channelFaults(check func(key string, err error)) {
	south, north, console := &c.Southbound, &c.Northbound, &c.Console
	for _, l := range []struct {
		section, listen, hop       string
		cert, key, ca              string
		allow                      []string
		hopCA, hopCert, hopKey     string
		hopTLS12, insecure, direct bool // direct: the console has no next hop
	}{
		{"southbound", south.Listen, south.NextHop, south.TLS.Cert, south.TLS.Key, south.TLS.ClientCA, south.TLS.Allow,
			south.NextHopTLS.CA, south.NextHopTLS.Cert, south.NextHopTLS.Key, south.NextHopTLS.TLS12, south.Insecure, false},
		{"northbound", north.Listen, north.NextHop, north.TLS.Cert, north.TLS.Key, north.TLS.ClientCA, north.TLS.Allow,
			north.NextHopTLS.CA, north.NextHopTLS.Cert, north.NextHopTLS.Key, north.NextHopTLS.TLS12, north.Insecure, false},
		{section: "console", listen: console.Listen, cert: console.TLS.Cert, key: console.TLS.Key, ca: console.TLS.ClientCA, direct: true},
	} {
		key := func(name string) string { return l.section + "." + name }
		check(key("tls.cert"), cmp.Or(checkPaths(l.cert), checkPartner(l.cert, l.key, "tls.key")))
		check(key("tls.key"), cmp.Or(checkPaths(l.key), checkPartner(l.key, l.cert, "tls.cert")))
		check(key("tls.client_ca"), checkPaths(l.ca))
		if l.ca != "" && l.cert == "" {
			check(key("tls.client_ca"), errors.New("needs tls.cert and tls.key: without them the listener speaks no TLS"))
		}
		if l.direct {
			continue
		}
		_, err := channel.ParseNames(l.allow)
		if err == nil && len(l.allow) > 0 && l.ca == "" {
			err = errors.New("needs tls.client_ca: the authorities whose word about these names counts")
		}
		check(key("tls.allow"), err)
		if checkAddress(l.listen) == nil && !l.insecure && !isLoopback(l.listen) {
			switch {
			case l.cert == "" && l.key == "":
				check(key("listen"), fmt.Errorf("%q is not a loopback address, so messages would come without TLS: set tls.cert, tls.key and tls.client_ca, "+
					"or %s: true, which lets others read and forge them", l.listen, key("insecure")))
			case l.ca == "":
				check(key("tls.client_ca"), fmt.Errorf("is missing, so that everyone who reaches %q could send messages: set it, or %s: true", l.listen, key("insecure")))
			}
		}
		check(key("next_hop_tls.ca"), checkPaths(l.hopCA))
		check(key("next_hop_tls.cert"), cmp.Or(checkPaths(l.hopCert), checkPartner(l.hopCert, l.hopKey, "next_hop_tls.key")))
		check(key("next_hop_tls.key"), cmp.Or(checkPaths(l.hopKey), checkPartner(l.hopKey, l.hopCert, "next_hop_tls.cert")))
		u, err := url.Parse(l.hop)
		if err != nil || checkNextHop(l.hop) != nil || u.Scheme == "https" {
			continue
		}
		if l.hopCA+l.hopCert+l.hopKey != "" || l.hopTLS12 {
			check(key("next_hop"), errors.New("is an http URL, so next_hop_tls has no meaning: write https, or remove next_hop_tls"))
		}
		if !l.insecure && !isLoopback(u.Hostname()+":1") && !isLoopback("["+u.Hostname()+"]:1") {
			check(key("next_hop"), fmt.Errorf("is an http URL of another machine, so messages would go there without TLS: write https, "+
				"or set %s: true, which lets others read and change them", key("insecure")))
		}
	}
}

// checkPartner refuses a file without the one that belongs to it.
func checkPartner(file, partner, name string) error {
	if file != "" && partner == "" {
		return fmt.Errorf("needs %s too: a certificate and its key belong together", name)
	}
	return nil
}

// Insecure says in which ways messages or the console are open to others, as "degraded"
// has it; nil if they are not. started is the configuration at the start: listeners stay
// as that says until a restart.
func (c *Config) Insecure(started *Config) (list []string) {
	const text = ".insecure is true: others may read, change and forge messages"
	if c.Southbound.Insecure || started.Southbound.Insecure {
		list = append(list, "southbound"+text)
	}
	if c.Northbound.Insecure || started.Northbound.Insecure {
		list = append(list, "northbound"+text)
	}
	if started.Console.Insecure && started.Console.TLS.Cert == "" {
		list = append(list, "console.insecure is true: others may read tokens, and what the console answers")
	}
	return list
}
