package storetest

import (
	"fmt"
	"strings"
)

// patroniConfig is a member's configuration. Its values are the member's name, its addresses for
// PostgreSQL and REST, etcd's address, the folder of PostgreSQL's programs, and the data folder.
// The times are about the shortest that Patroni allows. ttl is how long nobody takes over from a
// machine that is gone. With primary_start_timeout at 0 a standby takes over from a primary that
// crashed, rather than wait for its recovery; before Patroni 4 it may be called
// master_start_timeout.
const patroniConfig = `
scope: quell
name: %[1]s
restapi: {listen: '%[3]s', connect_address: '%[3]s'}
etcd3: {host: '%[4]s'}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 5
    primary_start_timeout: 0
    master_start_timeout: 0
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {max_connections: 60, shared_buffers: 32MB}
  initdb: [{encoding: UTF8}, {locale: C}, data-checksums, no-sync]
postgresql:
  listen: '%[2]s'
  connect_address: '%[2]s'
  bin_dir: '%[5]s'
  data_dir: '%[6]s'
  pgpass: pgpass
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  authentication: {superuser: {username: quell}, replication: {username: standby}, rewind: {username: quell}}
  basebackup: [{checkpoint: fast}, no-sync]
  parameters: {unix_socket_directories: ''}
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
`

// haproxyConfig connects to the member whose Patroni says that it is the primary, and ends the
// connections to a member that no longer is.
func (c *Cluster) haproxyConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
defaults
	mode tcp
	timeout connect 2s
	timeout check 2s
	timeout client 30m
	timeout server 30m
listen primary
	bind %s
	option httpchk OPTIONS /primary
	http-check expect status 200
	default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
`, c.haproxy)
	for _, m := range c.members {
		fmt.Fprintf(&b, "\tserver %s %s check port %s\n", m.name, m.database, port(m.rest))
	}
	return b.String()
}

// pgbouncerConfig pools transactions. While there is no server, it retries each second, and a
// client waits for 5 seconds at most.
func (c *Cluster) pgbouncerConfig() string {
	return fmt.Sprintf(`
[databases]
* = host=127.0.0.1 port=%s user=quell
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
server_login_retry = 1
server_connect_timeout = 2
server_check_delay = 1
query_wait_timeout = 5
`, port(c.haproxy), port(c.pooler))
}
