package rig

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"quell/bench/load"
	"quell/internal/devca"
)

// Candidate is a proxy that is measured: its process, and where it takes messages.
type Candidate struct {
	Name string
	*Process
	Addr string
	tls  bool
}

// URL is where a load generator sends messages to.
func (c *Candidate) URL() string {
	if c.tls {
		return "https://" + c.Addr
	}
	return "http://" + c.Addr
}

// nginxMain is what all configurations of nginx have: the number of workers, and what
// is within http. No request ends a connection, and nothing is logged for one.
const nginxMain = `%s
user root;
worker_processes %d;
pid nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
pcre_jit on;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	keepalive_timeout 300s;
	client_max_body_size 16m;
	client_body_buffer_size 256k;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
%s
}
`

// nginxProxy is a server that passes messages on over connections that stay open.
// %[1]s is how it listens, %[2]s the address of the next hop, %[3]s what it does with a
// message first, %[4]s the scheme.
const nginxProxy = `
	upstream next_hop {
		server %[2]s;
		keepalive 128;
		keepalive_requests 1000000000;
		keepalive_timeout 300s;
	}
	server {
		listen %[1]s;
		location / {
			%[3]s
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_pass %[4]s://next_hop;
		}
	}`

// luaInit makes a table of hubs with an open window, and luaCheck answers an AD1 of one
// of them itself: the fifteen lines that somebody would write instead of quell.
const (
	luaInit = `
	lua_shared_dict hubs 64m;
	init_by_lua_block {
		local hubs, bit = ngx.shared.hubs, require "bit"
		for i = 0, %d do
			local id = string.format("88-73-84-57-%%02X-%%02X-%%02X-%%02X", bit.rshift(i, 24), bit.band(bit.rshift(i, 16), 255), bit.band(bit.rshift(i, 8), 255), bit.band(i, 255))
			local ok, err = hubs:set(id, ngx.time() + 36000)
			if not ok then error(err) end
		end
	}`
	luaCheck = `access_by_lua_block {
				ngx.req.read_body()
				local body = ngx.req.get_body_data()
				if body and ngx.re.find(body, [[<(?:\w+:)?DCCAlertCode>\s*AD1\s*<]], "jo") then
					local m = ngx.re.match(body, [[<(?:\w+:)?CommsHubDeviceID>\s*([0-9A-Fa-f-]{23})\s*<]], "jo")
					local open = m and ngx.shared.hubs:get(m[1])
					if open and ngx.now() < open then
						return ngx.exit(ngx.HTTP_OK)
					end
				end
			}`
)

// nginx starts nginx with a configuration that listens on addr.
func (r *Rig) nginx(name, addr, modules string, workers int, config string) (*Process, error) {
	dir, err := r.folder(name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, nginxMain, modules, workers, config), 0o644); err != nil {
		return nil, err
	}
	p, err := r.Start(dir, name, syscall.SIGTERM, nil, "nginx", "-p", dir, "-c", path, "-g", "daemon off;")
	if err != nil {
		return nil, err
	}
	return p, p.await(r.Ctx, addr)
}

// upstream is the next hop of all candidates: nginx with one worker. North answers
// with a few bytes, south with none, as for an 11.3 that was taken. northTLS is north
// with TLS. logged is north too, and writes the path of each message into the file log.
type upstream struct {
	*Process
	north, south, northTLS, Logged string
	Log                            string
}

func (r *Rig) startUpstream() (*upstream, error) {
	dir, err := r.folder("upstream")
	if err != nil {
		return nil, err
	}
	u := &upstream{Log: filepath.Join(dir, "messages")}
	for _, addr := range []*string{&u.north, &u.south, &u.northTLS, &u.Logged} {
		if *addr, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	const server = "\tserver { listen %s; %s location / { return 200 %q; } }\n"
	config := "\tlog_format path '$uri';\n" +
		fmt.Sprintf(server, u.north, "", "taken") +
		fmt.Sprintf(server, u.south, "", "") +
		fmt.Sprintf(server, u.northTLS+" ssl", r.nginxTLS("server"), "taken") +
		fmt.Sprintf(server, u.Logged, "access_log "+u.Log+" path buffer=1m flush=1s;", "taken")
	u.Process, err = r.nginx("upstream", u.south, "", 1, config)
	return u, err
}

// writeCertificates makes an authority, and a certificate for all servers.
func (r *Rig) writeCertificates() error {
	ca, err := devca.New("bench")
	if err != nil {
		return err
	}
	if err := ca.Write(r.Dir, "server", devca.Request{Name: "server", SANs: []string{"127.0.0.1", "localhost"}}); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Dir, "ca.crt"), ca.PEM(), 0o644)
}

// nginxTLS are the directives of a server that speaks TLS 1.3. The cipher is the one
// that Go prefers, so that all encrypt in the same way.
func (r *Rig) nginxTLS(name string) string {
	return fmt.Sprintf("ssl_certificate %[1]s.crt; ssl_certificate_key %[1]s.key; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
		filepath.Join(r.Dir, name))
}

// PlainNginx is nginx that inspects nothing, with TLS on both sides or on none.
func (r *Rig) PlainNginx(tls bool) (*Candidate, error) {
	c, next, scheme, listen, first := &Candidate{Name: "nginx", tls: tls}, r.Up.north, "http", "", ""
	if tls {
		c.Name, next, scheme, listen = "nginx, TLS", r.Up.northTLS, "https", " ssl"
		first = fmt.Sprintf("proxy_ssl_trusted_certificate %s/ca.crt; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_protocols TLSv1.3; "+
			"proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;", r.Dir)
	}
	var err error
	if c.Addr, err = freeAddress(); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(nginxProxy, c.Addr+listen, next, first, scheme)
	if tls {
		config = r.nginxTLS("server") + config
	}
	c.Process, err = r.nginx(strings.ReplaceAll(c.Name, ", ", "-"), c.Addr, "", workers, config)
	return c, err
}

// LuaNginx is nginx that looks for AD1s of windows hubs.
func (r *Rig) LuaNginx(windows int) (*Candidate, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	var modules strings.Builder
	for _, module := range []string{"ndk_http_module.so", "ngx_http_lua_module.so"} {
		found, _ := filepath.Glob("/usr/lib*/nginx/modules/" + module)
		if len(found) == 0 {
			return nil, fmt.Errorf("nginx has no module %s; on Debian it is in libnginx-mod-http-lua", module)
		}
		fmt.Fprintf(&modules, "load_module %s;\n", found[0])
	}
	config := fmt.Sprintf(luaInit, windows-1) + fmt.Sprintf(nginxProxy, addr, r.Up.north, luaCheck, "http")
	p, err := r.nginx("nginx-lua", addr, modules.String(), workers, config)
	return &Candidate{Name: "nginx + Lua", Process: p, Addr: addr}, err
}

const haproxyConfig = `global
	maxconn 8000
	nbthread %d
defaults
	mode http
	timeout connect 5s
	timeout client 300s
	timeout server 300s
	http-reuse always
frontend north
	bind %s
	default_backend next_hop
backend next_hop
	server next_hop %s
`

// HAProxy is HAProxy, which inspects nothing.
func (r *Rig) HAProxy() (*Candidate, error) {
	dir, err := r.folder("haproxy")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, fmt.Appendf(nil, haproxyConfig, workers, addr, r.Up.north), 0o644); err != nil {
		return nil, err
	}
	p, err := r.Start(dir, "haproxy", syscall.SIGKILL, nil, "haproxy", "-f", path)
	if err != nil {
		return nil, err
	}
	return &Candidate{Name: "HAProxy", Process: p, Addr: addr}, p.await(r.Ctx, addr)
}

// workers is how many workers or threads a proxy has: one for each core, as quell.
var workers = runtime.NumCPU()

// ReverseProxy is httputil.ReverseProxy, in another process of this program.
func (r *Rig) ReverseProxy() (*Candidate, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := r.Start(r.Dir, "reverse-proxy", syscall.SIGKILL, nil, self, "reverse-proxy", addr, r.Up.north)
	if err != nil {
		return nil, err
	}
	return &Candidate{Name: "httputil.ReverseProxy", Process: p, Addr: addr}, p.await(r.Ctx, addr)
}

// ServeReverseProxy is the program of reverseProxy.
func ServeReverseProxy(listen, nextHop string) error {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: nextHop})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 2 * load.Connections, DisableCompression: true}
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: proxy}
	context.AfterFunc(ctx, func() { server.Close() })
	return server.Serve(l)
}
