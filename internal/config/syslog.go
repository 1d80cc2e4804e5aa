package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
)

// checkSyslog checks the address of a syslog receiver.
func checkSyslog(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "udp" && u.Scheme != "tcp" && u.Scheme != "tls" {
		return errors.New("must be of the form udp://host:514, tcp://host:601 or tls://host:6514")
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 || u.Hostname() == "" || *u != (url.URL{Scheme: u.Scheme, Host: u.Host}) {
		return fmt.Errorf("must be %s://, a host, a colon and a port, and no more", u.Scheme)
	}
	return nil
}
