package access

import (
	"crypto/x509"

	"quell/internal/role"
)

// certificate returns the name and the role of a verified client certificate. If several of its
// names have a role, the highest counts. If none has, the role is role.Anyone.
func certificate(c *x509.Certificate, roles map[string]role.Role) (name string, as role.Role) {
	names := names(c)
	for _, n := range names {
		if r := roles[n]; r > as {
			name, as = n, r
		}
	}
	if name == "" && len(names) > 0 {
		name = names[0]
	}
	if name == "" {
		name = "certificate " + c.SerialNumber.String()
	}
	return name, as
}

// names are the names of a certificate as the setting console.client_roles writes them.
func names(c *x509.Certificate) (list []string) {
	if cn := c.Subject.CommonName; cn != "" {
		list = append(list, "CN="+cn)
	}
	for _, d := range c.DNSNames {
		list = append(list, "DNS:"+d)
	}
	for _, u := range c.URIs {
		list = append(list, "URI:"+u.String())
	}
	return list
}
